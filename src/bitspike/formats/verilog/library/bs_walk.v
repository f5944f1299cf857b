// Walks over the windows of a convolution or a pool and gives the address of one word of the source a cycle.
//
// The order: for each place of the output, for each group of output channels, for each tap, for each word of the tap.
// Addresses are sums of constants, so nothing is multiplied; those of taps outside the source mean nothing.
module bs_walk #(
    parameter IH = 1, parameter IW = 1,  // places of the source
    parameter KH = 1, parameter KW = 1,  // taps
    parameter SH = 1, parameter SW = 1,  // stride
    parameter PH = 0, parameter PW = 0,  // padding
    parameter DH = 1, parameter DW = 1,  // dilation
    parameter OH = 1, parameter OW = 1,  // places of the output
    parameter PITCH = 1,                 // words of one place of the source
    parameter INNER = 1,                 // words that are read at one tap
    parameter G = 1,                     // groups
    parameter GSTEP = 0,                 // words from one group to the next
    parameter A = 1                      // bits of an address
) (
    input  wire         clk,
    input  wire         rst,
    input  wire         start,
    input  wire         advance,
    output reg          valid,     // addr is one of the walk
    output reg  [A-1:0] addr,
    output wire         in_frame,  // the tap lies inside the source
    output wire         last,      // the last word of a window and group
    output wire         wrap,      // of the last group of a window
    output wire         finish     // of the last window
);
    localparam NB = INNER > 1 ? $clog2(INNER) : 1;
    localparam XB = KW > 1 ? $clog2(KW) : 1;
    localparam YB = KH > 1 ? $clog2(KH) : 1;
    localparam GB = G > 1 ? $clog2(G) : 1;
    localparam PXB = OW > 1 ? $clog2(OW) : 1;
    localparam PYB = OH > 1 ? $clog2(OH) : 1;
    // Places of the source modulo a power of two, so large that places outside are no places of the source.
    localparam RB = $clog2(IH + 2 * PH + (OH - 1) * SH + (KH - 1) * DH + 2);
    localparam CB = $clog2(IW + 2 * PW + (OW - 1) * SW + (KW - 1) * DW + 2);

    localparam LAST_N = INNER - 1, LAST_X = KW - 1, LAST_Y = KH - 1, LAST_G = G - 1, LAST_PX = OW - 1, LAST_PY = OH - 1;
    localparam TOP = -PH, LEFT = -PW;
    localparam TO_TAP = DW * PITCH - (INNER - 1), TO_ROW = DH * IW * PITCH;
    localparam TO_RIGHT = SW * PITCH, TO_LINE = SH * IW * PITCH, ORIGIN = -(PH * IW + PW) * PITCH;

    reg [NB-1:0] n;
    reg [XB-1:0] kx;
    reg [YB-1:0] ky;
    reg [GB-1:0] g;
    reg [PXB-1:0] px;
    reg [PYB-1:0] py;
    reg [RB-1:0] row, top;     // of the tap, and of the window's first tap
    reg [CB-1:0] col, left;
    reg [A-1:0] row_addr, window_addr, corner_addr, line_addr;

    wire last_n = n == LAST_N[NB-1:0];
    wire last_x = kx == LAST_X[XB-1:0];
    wire last_y = ky == LAST_Y[YB-1:0];
    wire last_px = px == LAST_PX[PXB-1:0];
    assign last = last_n && last_x && last_y;
    assign wrap = last && g == LAST_G[GB-1:0];
    assign finish = wrap && last_px && py == LAST_PY[PYB-1:0];
    assign in_frame = row < IH[RB-1:0] && col < IW[CB-1:0];

    wire [A-1:0] next_row = row_addr + TO_ROW[A-1:0];
    wire [A-1:0] next_line = line_addr + TO_LINE[A-1:0];
    wire [A-1:0] next_corner = last_px ? next_line : corner_addr + TO_RIGHT[A-1:0];
    wire [A-1:0] next_window = wrap ? next_corner : window_addr + GSTEP[A-1:0];
    wire [CB-1:0] next_left = last_px ? LEFT[CB-1:0] : left + SW[CB-1:0];
    wire [RB-1:0] next_top = top + SH[RB-1:0];

    always @(posedge clk) begin
        if (rst) valid <= 1'b0;
        else if (start) begin
            valid <= 1'b1;
            n <= 0; kx <= 0; ky <= 0; g <= 0; px <= 0; py <= 0;
            row <= TOP[RB-1:0]; top <= TOP[RB-1:0]; col <= LEFT[CB-1:0]; left <= LEFT[CB-1:0];
            addr <= ORIGIN[A-1:0]; row_addr <= ORIGIN[A-1:0]; window_addr <= ORIGIN[A-1:0];
            corner_addr <= ORIGIN[A-1:0]; line_addr <= ORIGIN[A-1:0];
        end else if (valid && advance) begin
            n <= last_n ? {NB{1'b0}} : n + 1'b1;
            if (last) begin
                kx <= 0; ky <= 0;
                addr <= next_window; row_addr <= next_window; window_addr <= next_window;
                row <= top; col <= left;
                g <= wrap ? {GB{1'b0}} : g + 1'b1;
                if (wrap) begin
                    corner_addr <= next_corner;
                    left <= next_left; col <= next_left;
                    px <= last_px ? {PXB{1'b0}} : px + 1'b1;
                    if (last_px) begin
                        line_addr <= next_line;
                        top <= next_top; row <= next_top;
                        py <= py + 1'b1;
                    end
                end
                if (finish) valid <= 1'b0;
            end else if (!last_n) addr <= addr + 1'b1;
            else if (!last_x) begin
                kx <= kx + 1'b1; col <= col + DW[CB-1:0];
                addr <= addr + TO_TAP[A-1:0];
            end else begin
                kx <= 0; ky <= ky + 1'b1; col <= left; row <= row + DH[RB-1:0];
                addr <= next_row; row_addr <= next_row;
            end
        end
    end
endmodule
