// Sums of products: every integer of a window times the weights of P output channels at once.
//
// A window's sums are given whole; they may be shifted out from channel 0 on while the next window is summed up.
module bs_sums #(
    parameter P = 1,   // output channels
    parameter B = 1,   // bits of an integer, without the sign that the fetch adds
    parameter WB = 2,  // bits of a weight
    parameter SB = 8,  // bits of a sum: every partial sum fits
    parameter D = 2, parameter WA = 1, parameter FILE = "weights.hex"
) (
    input  wire              clk,
    input  wire              rst,
    input  wire              valid,
    input  wire signed [B:0] x,
    input  wire [WA-1:0]     wa,
    input  wire              window,
    input  wire              finish,
    input  wire              shift,
    output wire              full,  // from the next cycle on, the sums are those of a new window
    output wire              over,  // and it is the last one
    output reg  [P*SB-1:0]   sums
);
    localparam MB = WB + B + 1;
    wire [P*WB-1:0] weights;
    bs_rom #(.W(P * WB), .D(D), .A(WA), .FILE(FILE)) table_of_weights (.clk(clk), .ra(wa), .rq(weights));

    reg valid_1, window_1, window_2, finish_1, finish_2;
    assign full = window_2;
    assign over = finish_2;
    reg signed [B:0] x_1;
    wire signed [MB-1:0] x_wide;
    bs_resize #(.FROM(B + 1), .TO(MB)) widen (.x(x_1), .y(x_wide));
    wire [P*SB-1:0] totals;
    genvar p;
    generate
        for (p = 0; p < P; p = p + 1) begin : g_channel
            wire signed [MB-1:0] weight;
            bs_resize #(.FROM(WB), .TO(MB)) widen_weight (.x(weights[p*WB +: WB]), .y(weight));
            reg signed [MB-1:0] product;
            wire signed [SB-1:0] fitting;
            bs_resize #(.FROM(MB), .TO(SB)) fit (.x(product), .y(fitting));
            reg signed [SB-1:0] sum;
            wire signed [SB-1:0] total = sum + fitting;
            assign totals[p*SB +: SB] = total;
            always @(posedge clk) begin
                product <= valid_1 ? weight * x_wide : {MB{1'b0}};
                sum <= rst || window_2 ? {SB{1'b0}} : total;
            end
        end
    endgenerate
    always @(posedge clk) begin
        x_1 <= x;
        valid_1 <= valid && !rst;
        window_1 <= window && !rst; window_2 <= window_1 && !rst;
        finish_1 <= finish && !rst; finish_2 <= finish_1 && !rst;
        if (window_2) sums <= totals;
        else if (shift) sums <= sums >> SB;
    end
endmodule
