// A register, or with ON = 0 a wire: so a proof reads the equations of a pipeline without its clock.
module bs_delay #(
    parameter W = 1,
    parameter ON = 1
) (
    input  wire         clk,
    input  wire [W-1:0] d,
    output wire [W-1:0] q
);
    generate
        if (ON != 0) begin : g_register
            reg [W-1:0] kept;
            always @(posedge clk) kept <= d;
            assign q = kept;
        end else begin : g_wire
            wire unused = clk;
            assign q = d;
        end
    endgenerate
endmodule
