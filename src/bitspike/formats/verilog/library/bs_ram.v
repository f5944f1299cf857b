// A memory with one port to write and one to read. What is read arrives a cycle later and stays until `re` rises again.
module bs_ram #(
    parameter W = 8,  // bits of a word
    parameter D = 2,  // words
    parameter A = 1   // bits of an address
) (
    input  wire         clk,
    input  wire         we,
    input  wire [A-1:0] wa,
    input  wire [W-1:0] wd,
    input  wire         re,
    input  wire [A-1:0] ra,
    output reg  [W-1:0] rq
);
    reg [W-1:0] words [0:D-1];
    always @(posedge clk) begin
        if (we) words[wa] <= wd;
        if (re) rq <= words[ra];
    end
endmodule
