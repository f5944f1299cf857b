// The sum of gain * x over several wires of one shape, a word of each at once.
//
// The wires lie at the same addresses; their integers arrive widened to XB bits, lane after lane, wire after wire.
module bs_add #(
    parameter S = 2,      // wires
    parameter L = 1,      // lanes
    parameter PITCH = 1,  // words of a place
    parameter WORDS = 2,  // words of a wire
    parameter A = 1,      // bits of an address
    parameter XB = 2,     // bits of an integer, in two's complement
    parameter GB = 2,     // bits of a gain
    parameter OB = 2,     // bits of a sum
    parameter ROWS = 1, parameter CA = 1, parameter TIMED = 0,  // rows of the table; whether each step has its own
    parameter FILE = "gains.hex"
) (
    input  wire              clk,
    input  wire              rst,
    input  wire              start,
    input  wire              first,
    output wire              re,
    output wire [A-1:0]      ra,
    input  wire [S*L*XB-1:0] rq,
    output wire              we,
    output wire [A-1:0]      wa,
    output wire [L*OB-1:0]   wd,
    output reg               done
);
    localparam LAST = WORDS - 1, LAST_G = PITCH - 1;
    localparam PB = XB + GB;
    localparam GC = PITCH > 1 ? $clog2(PITCH) : 1;

    reg running;
    reg [A-1:0] at_0, at_1, at_2;
    reg [GC-1:0] group;
    reg [CA-1:0] row, row_0;
    wire ends = at_0 == LAST[A-1:0];
    wire wraps = group == LAST_G[GC-1:0];
    wire [CA-1:0] next_row_0 = first || TIMED == 0 ? {CA{1'b0}} : row_0 + PITCH[CA-1:0];
    assign re = running;
    assign ra = at_0;
    always @(posedge clk)
        if (rst) running <= 1'b0;
        else if (start) begin
            running <= 1'b1; at_0 <= 0; group <= 0; row <= next_row_0; row_0 <= next_row_0;
        end else if (running) begin
            at_0 <= at_0 + 1'b1;
            group <= wraps ? {GC{1'b0}} : group + 1'b1;
            row <= wraps ? row_0 : row + 1'b1;
            if (ends) running <= 1'b0;
        end

    wire [S*L*GB-1:0] gains;
    bs_rom #(.W(S * L * GB), .D(ROWS), .A(CA), .FILE(FILE)) table_of_gains (.clk(clk), .ra(row), .rq(gains));
    reg [S*L*PB-1:0] products;
    genvar j;
    generate
        for (j = 0; j < S * L; j = j + 1) begin : g_product
            wire signed [PB-1:0] x, gain;
            bs_resize #(.FROM(XB), .TO(PB)) widen_x (.x(rq[j*XB +: XB]), .y(x));
            bs_resize #(.FROM(GB), .TO(PB)) widen_gain (.x(gains[j*GB +: GB]), .y(gain));
            always @(posedge clk) products[j*PB +: PB] <= x * gain;
        end
        for (j = 0; j < L; j = j + 1) begin : g_sum
            // The sum over wires, one added to the next.
            wire signed [(S+1)*OB-1:0] sums;
            assign sums[OB-1:0] = {OB{1'b0}};
            genvar i;
            for (i = 0; i < S; i = i + 1) begin : g_wire
                wire signed [OB-1:0] product;
                bs_resize #(.FROM(PB), .TO(OB)) fit (.x(products[(i*L+j)*PB +: PB]), .y(product));
                assign sums[(i+1)*OB +: OB] = sums[i*OB +: OB] + product;
            end
            assign wd[j*OB +: OB] = sums[S*OB +: OB];
        end
    endgenerate

    reg here, ready, closing_1, closing_2;
    assign we = ready;
    assign wa = at_2;
    always @(posedge clk) begin
        here <= !rst && running; ready <= !rst && here;
        closing_1 <= ends; closing_2 <= closing_1;
        at_1 <= at_0; at_2 <= at_1;
        done <= !rst && ready && closing_2;
    end
endmodule
