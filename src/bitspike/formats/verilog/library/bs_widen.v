// The integers of a word, each in XB bits of two's complement.
module bs_widen #(
    parameter L = 1,
    parameter B = 1,
    parameter SIGNED = 0,
    parameter XB = 2
) (
    input  wire [L*B-1:0]  word,
    output wire [L*XB-1:0] wide
);
    genvar j;
    generate
        for (j = 0; j < L; j = j + 1) begin : g_lane
            bs_resize #(.FROM(B + 1), .TO(XB)) widen (
                .x({SIGNED != 0 && word[j*B+B-1], word[j*B +: B]}), .y(wide[j*XB +: XB])
            );
        end
    endgenerate
endmodule
