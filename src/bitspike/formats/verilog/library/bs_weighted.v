// A convolution: the sums of all its windows, P output channels at a time. A linear layer is one with a kernel as large as its source.
//
// `full` says that `sums` are new from the next cycle on. Two windows are at least GAP cycles apart, in which they can be shifted out.
module bs_weighted #(
    parameter IH = 1, parameter IW = 1, parameter KH = 1, parameter KW = 1, parameter SH = 1, parameter SW = 1,
    parameter PH = 0, parameter PW = 0, parameter DH = 1, parameter DW = 1, parameter OH = 1, parameter OW = 1,
    parameter PITCH = 1, parameter G = 1, parameter A = 1, parameter L = 1, parameter B = 1, parameter SIGNED = 0,
    parameter P = 1, parameter WB = 2, parameter SB = 8, parameter D = 2, parameter WA = 1, parameter GAP = 1,
    parameter FILE = "weights.hex"
) (
    input  wire            clk,
    input  wire            rst,
    input  wire            start,
    output wire            re,
    output wire [A-1:0]    ra,
    input  wire [L*B-1:0]  rq,
    input  wire            shift,
    output wire            full,
    output wire            over,
    output wire [P*SB-1:0] sums
);
    localparam CB = GAP > 1 ? $clog2(GAP) : 1;
    localparam WAIT = GAP > 1 ? GAP - 2 : 0;
    wire valid, window, finish;
    wire signed [B:0] x;
    wire [WA-1:0] wa;
    reg [CB-1:0] wait_for;
    wire room = GAP < 2 || (wait_for == 0 && !window);
    bs_fetch #(
        .IH(IH), .IW(IW), .KH(KH), .KW(KW), .SH(SH), .SW(SW), .PH(PH), .PW(PW), .DH(DH), .DW(DW), .OH(OH), .OW(OW),
        .PITCH(PITCH), .G(G), .A(A), .L(L), .B(B), .SIGNED(SIGNED), .WA(WA)
    ) fetch (
        .clk(clk), .rst(rst), .start(start), .re(re), .ra(ra), .rq(rq), .room(room), .valid(valid), .x(x), .wa(wa),
        .window(window), .finish(finish)
    );
    bs_sums #(.P(P), .B(B), .WB(WB), .SB(SB), .D(D), .WA(WA), .FILE(FILE)) adders (
        .clk(clk), .rst(rst), .valid(valid), .x(x), .wa(wa), .window(window), .finish(finish), .shift(shift),
        .full(full), .over(over), .sums(sums)
    );
    always @(posedge clk)
        if (rst) wait_for <= 0;
        else if (window) wait_for <= WAIT[CB-1:0];
        else if (wait_for != 0) wait_for <= wait_for - 1'b1;
endmodule
