// x * M / 2**K, rounded down, or toward zero with ZERO = 1: the leak of a potential.
module bs_leak #(
    parameter FROM = 8,  // bits of x
    parameter TO = 8,    // bits of the result, which is known to fit
    parameter M = 1,
    parameter K = 0,
    parameter ZERO = 0
) (
    input  wire signed [FROM-1:0] x,
    output wire signed [TO-1:0]   y
);
    localparam MB = FROM + $clog2(M + 1) + 1;
    localparam PB = ZERO != 0 && K + 2 > MB ? K + 2 : MB;
    wire signed [PB-1:0] wide, product, raised, rounded;
    bs_resize #(.FROM(FROM), .TO(PB)) widen (.x(x), .y(wide));
    generate
        if (M == 1) begin : g_one
            assign product = wide;
        end else begin : g_times
            localparam [31:0] FACTOR = M;
            wire signed [PB-1:0] factor;
            bs_resize #(.FROM(32), .TO(PB)) sized (.x(FACTOR), .y(factor));
            assign product = wide * factor;
        end
        if (ZERO != 0 && K > 0) begin : g_toward_zero
            wire signed [PB-1:0] most = {{(PB - K){1'b0}}, {K{1'b1}}};
            assign raised = product[PB-1] ? product + most : product;
        end else begin : g_down
            assign raised = product;
        end
    endgenerate
    assign rounded = raised >>> K;
    bs_resize #(.FROM(PB), .TO(TO)) fit (.x(rounded), .y(y));
endmodule
