// A layer of neurons, or a read-out: one neuron a cycle, its potential in a memory, its parameters in a table.
//
// Sums come P at a time and are shifted out. The spikes of P neurons make one word of the output. A table of T rows holds
// parameters that change from step to step.
module bs_neurons #(
    parameter P = 1, parameter G = 1, parameter N = 1,  // channels at once, groups of channels, neurons
    parameter NA = 1, parameter OA = 1, parameter CA = 1,  // bits of the addresses of neurons, of output words, of rows
    parameter REST = 1,  // channels of the last group; others are there to fill it up
    parameter ROWS = 1, parameter TIMED = 0,  // rows of the table; whether each step has its own
    parameter TB = 2, parameter QB = 1, parameter UB = 1, parameter BB = 2,  // bits of threshold, v_reset, retract, bias
    parameter OB = 1,  // bits of a spike: 1, or 2 with a sign
    parameter FILE = "parameters.hex",
    // as of bs_neuron
    parameter SB = 8, parameter GB = 2, parameter FIXED = 0, parameter GAIN = 1, parameter RSHIFT = 0, parameter IB = 8,
    parameter RB = 8, parameter HB = 8, parameter VB = 8, parameter EB = 1, parameter M = 1, parameter K = 0, parameter ZERO = 0,
    parameter AFTER = 0, parameter HARD = 0, parameter GT = 0, parameter SIGNED = 0, parameter READOUT = 0,
    parameter FLOORED = 0, parameter FLOOR = 0, parameter CLIP = 0, parameter FEW = 0, parameter KEEP = 0
) (
    input  wire                 clk,
    input  wire                 rst,
    input  wire                 start,
    input  wire                 first,  // the first step: potentials begin anew
    input  wire                 full,
    input  wire                 over,
    input  wire signed [SB-1:0] s,      // the sum of the next channel
    output wire                 shift,
    output reg                  we,     // a word of spikes
    output reg  [OA-1:0]        wa,
    output wire [P*OB-1:0]      wd,
    output reg                  done,
    input  wire                 look,   // between runs: the potential at look_at, a cycle later
    input  wire [NA-1:0]        look_at,
    output wire signed [VB-1:0] looked,
    output wire                 seen,   // a neuron has just been run: its spike and potential
    output wire signed [1:0]    seen_spike,
    output wire signed [HB-1:0] seen_h
);
    localparam PB = P > 1 ? $clog2(P) : 1;
    localparam LAST = P - 1, PER_STEP = P * G;
    localparam CB = G > 1 ? $clog2(G) : 1;
    localparam LAST_G = G - 1;

    // The sums that are being shifted out.
    reg running, closing;
    reg [PB-1:0] p;
    reg [CB-1:0] g;
    reg [CA-1:0] row, row_0;
    reg [NA-1:0] neuron;
    wire ends = p == LAST[PB-1:0];
    assign shift = running;
    always @(posedge clk)
        if (rst) running <= 1'b0;
        else begin
            if (start) begin
                neuron <= 0; g <= 0;
                row_0 <= first || TIMED == 0 ? {CA{1'b0}} : row_0 + PER_STEP[CA-1:0];
                row <= first || TIMED == 0 ? {CA{1'b0}} : row_0 + PER_STEP[CA-1:0];
            end else if (running) begin
                neuron <= neuron + 1'b1;
                row <= ends && g == LAST_G[CB-1:0] ? row_0 : row + 1'b1;
                if (ends) g <= g == LAST_G[CB-1:0] ? {CB{1'b0}} : g + 1'b1;
            end
            p <= running && !ends ? p + 1'b1 : {PB{1'b0}};
            if (full) begin running <= 1'b1; closing <= over; end
            else if (ends) running <= 1'b0;
        end

    // Its parameters and its potential, a cycle later.
    wire [GB+BB+TB+QB+UB+VB-1:0] parameters;
    bs_rom #(.W(GB + BB + TB + QB + UB + VB), .D(ROWS), .A(CA), .FILE(FILE)) table_of_parameters (
        .clk(clk), .ra(row), .rq(parameters)
    );
    wire signed [GB-1:0] gain;
    wire signed [BB-1:0] bias;
    wire signed [TB-1:0] theta;
    wire signed [QB-1:0] v_reset;
    wire signed [UB-1:0] retract;
    wire signed [VB-1:0] initially;
    assign {gain, bias, theta, v_reset, retract, initially} = parameters;
    wire signed [IB-1:0] bias_wide;
    wire signed [HB-1:0] theta_wide, v_reset_wide, retract_wide;
    bs_resize #(.FROM(BB), .TO(IB)) widen_bias (.x(bias), .y(bias_wide));
    bs_resize #(.FROM(TB), .TO(HB)) widen_theta (.x(theta), .y(theta_wide));
    bs_resize #(.FROM(QB), .TO(HB)) widen_v_reset (.x(v_reset), .y(v_reset_wide));
    bs_resize #(.FROM(UB), .TO(HB)) widen_retract (.x(retract), .y(retract_wide));

    localparam W = SIGNED != 0 ? EB + VB : VB;  // of a word of the memory
    wire [W-1:0] state, state_after;
    wire signed [VB-1:0] v, kept;
    wire [EB-1:0] sent, sent_after;
    reg signed [SB-1:0] s_0;
    always @(posedge clk) s_0 <= s;
    assign v = first ? initially : state[VB-1:0];
    generate
        if (SIGNED != 0) begin : g_count
            assign sent = first ? {EB{1'b0}} : state[W-1:W-EB];
            assign state_after = {sent_after, kept};
        end else begin : g_no_count
            wire unused = &{1'b0, sent_after};
            assign sent = {EB{1'b0}};
            assign state_after = kept;
        end
    endgenerate
    assign looked = state[VB-1:0];

    bs_neuron #(
        .PIPE(1), .SB(SB), .GB(GB), .FIXED(FIXED), .GAIN(GAIN), .RSHIFT(RSHIFT), .IB(IB), .RB(RB), .HB(HB), .VB(VB),
        .EB(EB), .M(M), .K(K), .ZERO(ZERO), .AFTER(AFTER), .HARD(HARD), .GT(GT), .SIGNED(SIGNED), .READOUT(READOUT),
        .FLOORED(FLOORED), .FLOOR(FLOOR), .CLIP(CLIP), .FEW(FEW), .KEEP(KEEP)
    ) equations (
        .clk(clk), .s(s_0), .v(v), .sent(sent), .gain(gain), .bias(bias_wide), .theta(theta_wide),
        .v_reset(v_reset_wide), .retract(retract_wide), .h(seen_h), .spike(seen_spike), .kept(kept),
        .sent_after(sent_after)
    );

    // What is written when it leaves the pipeline, four cycles after its sum.
    localparam FILLED = REST - 1;
    wire filling = REST != P && g == LAST_G[CB-1:0] && p > FILLED[PB-1:0];
    reg [3:0] at, at_end, at_close, at_filling;
    wire written = at[3];
    reg [NA-1:0] neuron_1, neuron_2, neuron_3, neuron_4;
    always @(posedge clk) begin
        at <= rst ? 4'd0 : {at[2:0], running};
        at_end <= {at_end[2:0], ends};
        at_close <= {at_close[2:0], closing};
        at_filling <= {at_filling[2:0], filling};
        neuron_1 <= neuron; neuron_2 <= neuron_1; neuron_3 <= neuron_2; neuron_4 <= neuron_3;
    end
    assign seen = written && !at_filling[3];
    bs_ram #(.W(W), .D(N), .A(NA)) potentials (
        .clk(clk), .we(written), .wa(neuron_4), .wd(state_after), .re(1'b1), .ra(look ? look_at : neuron), .rq(state)
    );

    reg [P*OB-1:0] word;
    wire [(P+1)*OB-1:0] pushed = {seen_spike[OB-1:0], word};
    wire unused = &{1'b0, pushed[OB-1:0]};
    assign wd = word;
    always @(posedge clk) begin
        if (written) word <= pushed[(P+1)*OB-1:OB];
        we <= !rst && written && at_end[3] && READOUT == 0;
        done <= !rst && written && at_end[3] && at_close[3];
        if (start) wa <= {OA{1'b1}};
        else if (written && at_end[3]) wa <= wa + 1'b1;
    end
endmodule
