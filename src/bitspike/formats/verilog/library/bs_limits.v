// x held at FLOOR or above, then within CLIP bits of two's complement.
module bs_limits #(
    parameter FROM = 8,
    parameter TO = 8,     // bits of the result, which is known to fit
    parameter FLOORED = 0,
    parameter FLOOR = 0,
    parameter CLIP = 0    // bits, or 0 for no clip
) (
    input  wire signed [FROM-1:0] x,
    output wire signed [TO-1:0]   y
);
    localparam [31:0] LEAST = FLOOR;
    wire signed [FROM-1:0] floor, above, clipped;
    bs_resize #(.FROM(32), .TO(FROM)) sized (.x(LEAST), .y(floor));
    assign above = FLOORED != 0 && x < floor ? floor : x;
    generate
        if (CLIP > 0 && CLIP < FROM) begin : g_clip
            wire fits = above[FROM-1:CLIP-1] == {(FROM - CLIP + 1){above[FROM-1]}};
            assign clipped = fits ? above : {{(FROM - CLIP + 1){above[FROM-1]}}, {(CLIP - 1){!above[FROM-1]}}};
        end else begin : g_no_clip
            assign clipped = above;
        end
    endgenerate
    bs_resize #(.FROM(FROM), .TO(TO)) fit (.x(clipped), .y(y));
endmodule
