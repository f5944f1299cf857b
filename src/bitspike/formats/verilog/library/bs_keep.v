// The code of TO bits that is kept of a potential: the nearest, (x + half) >> KEEP, held within its range.
module bs_keep #(
    parameter FROM = 8,
    parameter TO = 2,
    parameter KEEP = 0
) (
    input  wire signed [FROM-1:0] x,
    output wire signed [TO-1:0]   y
);
    localparam WIDE = FROM + 1;
    localparam [63:0] HALF = (64'd1 << KEEP) >> 1;
    wire signed [WIDE-1:0] wide, half, code;
    bs_resize #(.FROM(FROM), .TO(WIDE)) widen (.x(x), .y(wide));
    bs_resize #(.FROM(64), .TO(WIDE)) sized (.x(HALF), .y(half));
    assign code = (wide + half) >>> KEEP;
    bs_limits #(.FROM(WIDE), .TO(TO), .CLIP(TO)) limits (.x(code), .y(y));
endmodule
