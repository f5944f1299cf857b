// Reads the words of every window and gives the integers that are not 0, one a cycle, each with the address of its weights.
//
// The next word is read while the lanes of this one are given, so a word of zeros costs at most the cycle of its own read.
// A window ends with `window`, and waits for `room` before it does.
module bs_fetch #(
    parameter IH = 1, parameter IW = 1, parameter KH = 1, parameter KW = 1, parameter SH = 1, parameter SW = 1,
    parameter PH = 0, parameter PW = 0, parameter DH = 1, parameter DW = 1, parameter OH = 1, parameter OW = 1,
    parameter PITCH = 1, parameter G = 1, parameter A = 1,  // as of bs_walk
    parameter L = 1,      // lanes: integers of a word
    parameter B = 1,      // bits of an integer
    parameter SIGNED = 0, // whether it is in two's complement
    parameter WA = 1      // bits of a weight's address
) (
    input  wire                clk,
    input  wire                rst,
    input  wire                start,
    output wire                re,
    output wire [A-1:0]        ra,
    input  wire [L*B-1:0]      rq,
    input  wire                room,
    output reg                 valid,   // x is an integer that is not 0
    output reg  signed [B:0]   x,
    output reg  [WA-1:0]       wa,
    output reg                 window,  // it is the last one of its window; there may be none
    output reg                 finish   // and the window is the last one
);
    localparam LB = L > 1 ? $clog2(L) : 1;
    localparam [31:0] LANES = L;

    // The word whose read has been asked for.
    wire walking, in_frame, last, wrap, at_end, advance;
    reg [WA-1:0] base;  // address of the weights of lane 0
    bs_walk #(
        .IH(IH), .IW(IW), .KH(KH), .KW(KW), .SH(SH), .SW(SW), .PH(PH), .PW(PW), .DH(DH), .DW(DW), .OH(OH), .OW(OW),
        .PITCH(PITCH), .INNER(PITCH), .G(G), .GSTEP(0), .A(A)
    ) walk (
        .clk(clk), .rst(rst), .start(start), .advance(advance), .valid(walking), .addr(ra), .in_frame(in_frame),
        .last(last), .wrap(wrap), .finish(at_end)
    );
    assign re = advance;
    always @(posedge clk)
        if (start) base <= 0;
        else if (walking && advance) base <= wrap ? {WA{1'b0}} : base + LANES[WA-1:0];

    // The word that has arrived.
    reg here, here_in_frame, here_last, here_finish;
    reg [WA-1:0] here_base;
    wire [L-1:0] some;
    genvar j;
    generate
        for (j = 0; j < L; j = j + 1) begin : g_some
            assign some[j] = here_in_frame && |rq[j*B +: B];
        end
    endgenerate
    wire useful = |some || here_last;
    wire free;
    assign advance = !here || !useful || free;
    always @(posedge clk)
        if (rst) here <= 1'b0;
        else if (advance) begin
            here <= walking;
            here_in_frame <= in_frame; here_last <= last; here_finish <= at_end; here_base <= base;
        end

    // The word whose lanes are given: the lowest one that is left.
    reg busy, its_last, its_finish;
    reg [L*B-1:0] word;
    reg [L-1:0] left;
    reg [WA-1:0] its_base;
    wire [L-1:0] rest = left & (left - 1'b1);
    wire done = rest == 0 && (!its_last || room);
    wire give = busy && (rest != 0 || !its_last || room);
    assign free = !busy || done;
    reg [LB-1:0] lane;
    reg [B-1:0] code;
    integer i;
    always @* begin
        lane = 0;
        code = 0;
        for (i = 0; i < L; i = i + 1)
            if (left[i] && !rest[i]) begin
                lane = lane | i[LB-1:0];
                code = code | word[i*B +: B];
            end
    end
    wire [WA-1:0] offset;
    generate
        if (WA > LB) begin : g_offset
            assign offset = {{(WA - LB){1'b0}}, lane};
        end else begin : g_whole
            assign offset = lane[WA-1:0];
        end
    endgenerate
    always @(posedge clk) begin
        if (rst) begin
            busy <= 1'b0; valid <= 1'b0; window <= 1'b0; finish <= 1'b0;
        end else begin
            if (free) busy <= here && useful;
            valid <= give && left != 0;
            window <= give && done && its_last;
            finish <= give && done && its_finish;
        end
        if (free) begin
            word <= rq; left <= some; its_base <= here_base; its_last <= here_last; its_finish <= here_finish;
        end else if (give) left <= rest;
        x <= {SIGNED != 0 && code[B-1], code};
        wa <= its_base + offset;
    end
endmodule
