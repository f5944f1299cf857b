// x * M / 2**K, rounded down: the leak of a potential.
module bs_leak #(
    parameter FROM = 8,  // bits of x
    parameter TO = 8,    // bits of the result, which is known to fit
    parameter M = 1,
    parameter K = 0
) (
    input  wire signed [FROM-1:0] x,
    output wire signed [TO-1:0]   y
);
    localparam PB = FROM + $clog2(M + 1) + 1;
    wire signed [PB-1:0] wide, product, rounded;
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
    endgenerate
    assign rounded = product >>> K;
    bs_resize #(.FROM(PB), .TO(TO)) fit (.x(rounded), .y(y));
endmodule
