// An integer of two's complement in more bits, or in fewer where it is known to fit.
module bs_resize #(
    parameter FROM = 8,
    parameter TO = 8
) (
    input  wire signed [FROM-1:0] x,
    output wire signed [TO-1:0]   y
);
    generate
        if (TO > FROM) begin : g_wider
            assign y = {{(TO - FROM){x[FROM-1]}}, x};
        end else if (TO == FROM) begin : g_same
            assign y = x;
        end else begin : g_narrower
            wire unused = &{1'b0, x[FROM-1:TO]};
            assign y = x[TO-1:0];
        end
    endgenerate
endmodule
