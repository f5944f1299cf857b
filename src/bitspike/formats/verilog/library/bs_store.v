// Sums that no neuron reads: they are written to memory as they are, P at once.
module bs_store #(
    parameter P = 1, parameter SB = 8, parameter OA = 1
) (
    input  wire            clk,
    input  wire            rst,
    input  wire            start,
    input  wire            full,
    input  wire            over,
    input  wire [P*SB-1:0] sums,
    output wire            we,
    output reg  [OA-1:0]   wa,
    output wire [P*SB-1:0] wd,
    output reg             done
);
    reg arrived, closing;
    assign we = arrived;
    assign wd = sums;
    always @(posedge clk) begin
        arrived <= !rst && full;
        closing <= over;
        done <= !rst && arrived && closing;
        if (start) wa <= 0;
        else if (arrived) wa <= wa + 1'b1;
    end
endmodule
