// A table of constants, filled from a file of hexadecimal words. What is read arrives a cycle later.
module bs_rom #(
    parameter W = 8,  // bits of a word
    parameter D = 2,  // words
    parameter A = 1,  // bits of an address
    parameter FILE = "table.hex"
) (
    input  wire         clk,
    input  wire [A-1:0] ra,
    output reg  [W-1:0] rq
);
    reg [W-1:0] words [0:D-1];
    initial $readmemh(FILE, words);
    always @(posedge clk) rq <= words[ra];
endmodule
