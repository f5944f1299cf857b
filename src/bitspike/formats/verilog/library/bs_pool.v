// The sum or the largest integer of every window, channel by channel; all lanes of a word at once.
//
// A padded place adds nothing to a sum, and is never the largest.
module bs_pool #(
    parameter IH = 1, parameter IW = 1, parameter KH = 1, parameter KW = 1, parameter SH = 1, parameter SW = 1,
    parameter PH = 0, parameter PW = 0, parameter OH = 1, parameter OW = 1, parameter PITCH = 1,
    parameter A = 1, parameter OA = 1,  // bits of an address of the source and of the output
    parameter L = 1, parameter B = 1, parameter OB = 1, parameter SIGNED = 0,
    parameter LARGEST = 0
) (
    input  wire            clk,
    input  wire            rst,
    input  wire            start,
    output wire            re,
    output wire [A-1:0]    ra,
    input  wire [L*B-1:0]  rq,
    output reg             we,
    output reg  [OA-1:0]   wa,
    output reg  [L*OB-1:0] wd,
    output reg             done
);
    wire walking, in_frame, last, wrap, finish;
    wire unused = wrap;
    bs_walk #(
        .IH(IH), .IW(IW), .KH(KH), .KW(KW), .SH(SH), .SW(SW), .PH(PH), .PW(PW), .OH(OH), .OW(OW), .PITCH(PITCH),
        .INNER(1), .G(PITCH), .GSTEP(1), .A(A)
    ) walk (
        .clk(clk), .rst(rst), .start(start), .advance(1'b1), .valid(walking), .addr(ra), .in_frame(in_frame),
        .last(last), .wrap(wrap), .finish(finish)
    );
    assign re = walking;

    reg here, here_in_frame, here_last, here_finish;
    reg some;  // a place of this window has been read
    reg [L*OB-1:0] so_far;
    wire [L*OB-1:0] combined;
    genvar j;
    generate
        for (j = 0; j < L; j = j + 1) begin : g_lane
            wire [OB:0] x, kept, larger, total;
            bs_resize #(.FROM(B + 1), .TO(OB + 1)) widen (
                .x({SIGNED != 0 && rq[j*B+B-1], rq[j*B +: B]}), .y(x)
            );
            assign kept = some ? {SIGNED != 0 && so_far[j*OB+OB-1], so_far[j*OB +: OB]} : {(OB + 1){1'b0}};
            assign larger = some && $signed(kept) > $signed(x) ? kept : x;
            assign total = !here_in_frame ? kept : LARGEST != 0 ? larger : kept + x;
            assign combined[j*OB +: OB] = total[OB-1:0];
            wire unused_top = total[OB];
        end
    endgenerate
    always @(posedge clk) begin
        here <= !rst && walking;
        here_in_frame <= in_frame; here_last <= last; here_finish <= finish;
        if (start) some <= 1'b0;
        else if (here) begin
            so_far <= combined;
            some <= !here_last && (some || here_in_frame);
        end
        wd <= combined;
        we <= !rst && here && here_last;
        done <= !rst && here && here_last && here_finish;
        if (start) wa <= {OA{1'b1}};
        else if (here && here_last) wa <= wa + 1'b1;
    end
endmodule
