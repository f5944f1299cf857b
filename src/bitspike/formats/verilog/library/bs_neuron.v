// The equations of a neuron, one step of one neuron a cycle. What enters leaves three cycles later; with PIPE = 0 at once.
//
//   i = (gain * s >> RSHIFT) + bias
//   h = (v * M >> K) + i             AFTER = 0; with ZERO = 1 rounded toward zero
//   h = (v + i) * M >> K             AFTER = 1
//   h is then held above FLOOR and within CLIP bits, where asked for
//   spike = h >= theta               h > theta with GT = 1
//   spike = -1                       with SIGNED = 1 where h <= -retract and spikes were sent that can be taken back
//   v' = h - theta * spike           v_reset after a spike with HARD = 1
//   FEW = 1: of v' a code of VB bits is kept, (v' + half) >> KEEP, and v = code << KEEP
//
// READOUT = 1: no spike; v' = h is the sum over time. Every width is proven by interval arithmetic; `make prove` checks it.
module bs_neuron #(
    parameter PIPE = 1,
    parameter SB = 8,  // bits of the sum s
    parameter GB = 2,  // of the gain; with FIXED = 1 it is GAIN
    parameter FIXED = 0,
    parameter GAIN = 1,
    parameter RSHIFT = 0,
    parameter IB = 8,  // of the current i, and of gain * s
    parameter RB = 8,  // of h before it is held within its limits
    parameter HB = 8,  // of h, of the threshold and of v'
    parameter VB = 8,  // of what is kept from step to step
    parameter EB = 1,  // of the count of spikes sent
    parameter M = 1,
    parameter K = 0,
    parameter ZERO = 0,  // the leak rounds toward zero
    parameter AFTER = 0,
    parameter HARD = 0,
    parameter GT = 0,
    parameter SIGNED = 0,
    parameter READOUT = 0,
    parameter FLOORED = 0,
    parameter FLOOR = 0,
    parameter CLIP = 0,  // bits, or 0
    parameter FEW = 0,
    parameter KEEP = 0
) (
    input  wire                 clk,
    input  wire signed [SB-1:0] s,
    input  wire signed [VB-1:0] v,
    input  wire        [EB-1:0] sent,
    input  wire signed [GB-1:0] gain,
    input  wire signed [IB-1:0] bias,
    input  wire signed [HB-1:0] theta,
    input  wire signed [HB-1:0] v_reset,
    input  wire signed [HB-1:0] retract,
    output wire signed [HB-1:0] h,
    output wire signed [1:0]    spike,
    output wire signed [VB-1:0] kept,
    output wire        [EB-1:0] sent_after
);
    // 1: the gained sum, and what is left of the potential.
    localparam PB = SB + (FIXED != 0 ? 32 : GB);
    wire signed [PB-1:0] s_wide, gain_wide;
    bs_resize #(.FROM(SB), .TO(PB)) widen_s (.x(s), .y(s_wide));
    wire signed [IB-1:0] gained, gained_1;
    generate
        if (FIXED != 0) begin : g_fixed
            localparam [31:0] FACTOR = GAIN;
            wire unused = &{1'b0, gain};
            bs_resize #(.FROM(32), .TO(PB)) sized (.x(FACTOR), .y(gain_wide));
        end else begin : g_by_channel
            bs_resize #(.FROM(GB), .TO(PB)) widen_gain (.x(gain), .y(gain_wide));
        end
    endgenerate
    wire signed [PB-1:0] product = s_wide * gain_wide;
    bs_resize #(.FROM(PB), .TO(IB)) fit_product (.x(product), .y(gained));

    wire signed [HB-1:0] potential;
    generate
        if (FEW != 0) begin : g_code
            wire signed [HB-1:0] code;
            bs_resize #(.FROM(VB), .TO(HB)) widen_code (.x(v), .y(code));
            assign potential = code <<< KEEP;
        end else begin : g_potential
            bs_resize #(.FROM(VB), .TO(HB)) widen_v (.x(v), .y(potential));
        end
    endgenerate
    wire signed [HB-1:0] left, left_1, left_2;
    generate
        if (AFTER != 0 || (M == 1 && K == 0)) begin : g_all_left
            assign left = potential;
        end else begin : g_leak_before
            bs_leak #(.FROM(HB), .TO(HB), .M(M), .K(K), .ZERO(ZERO)) leak (.x(potential), .y(left));
        end
    endgenerate
    wire signed [IB-1:0] bias_1;
    wire signed [HB-1:0] theta_1, theta_2, theta_3, v_reset_1, v_reset_2, v_reset_3, retract_1, retract_2, retract_3;
    wire [EB-1:0] sent_1, sent_2, sent_3;
    bs_delay #(.W(2 * IB + 4 * HB + EB), .ON(PIPE)) stage_1 (
        .clk(clk), .d({gained, bias, left, theta, v_reset, retract, sent}),
        .q({gained_1, bias_1, left_1, theta_1, v_reset_1, retract_1, sent_1})
    );

    // 2: the current.
    wire signed [IB-1:0] current, current_2;
    assign current = (gained_1 >>> RSHIFT) + bias_1;
    bs_delay #(.W(IB + 4 * HB + EB), .ON(PIPE)) stage_2 (
        .clk(clk), .d({current, left_1, theta_1, v_reset_1, retract_1, sent_1}),
        .q({current_2, left_2, theta_2, v_reset_2, retract_2, sent_2})
    );

    // 3: the potential before the spike.
    wire signed [RB-1:0] left_wide, current_wide, sum, raw;
    wire signed [HB-1:0] potential_2, h_2;
    bs_resize #(.FROM(HB), .TO(RB)) widen_left (.x(left_2), .y(left_wide));
    bs_resize #(.FROM(IB), .TO(RB)) widen_current (.x(current_2), .y(current_wide));
    assign sum = left_wide + current_wide;
    generate
        if (AFTER != 0 && (M != 1 || K != 0)) begin : g_leak_after
            bs_leak #(.FROM(RB), .TO(RB), .M(M), .K(K), .ZERO(ZERO)) leak (.x(sum), .y(raw));
        end else begin : g_no_leak_after
            assign raw = sum;
        end
    endgenerate
    bs_limits #(.FROM(RB), .TO(HB), .FLOORED(FLOORED), .FLOOR(FLOOR), .CLIP(CLIP)) limits (.x(raw), .y(potential_2));
    assign h_2 = potential_2;
    bs_delay #(.W(4 * HB + EB), .ON(PIPE)) stage_3 (
        .clk(clk), .d({h_2, theta_2, v_reset_2, retract_2, sent_2}), .q({h, theta_3, v_reset_3, retract_3, sent_3})
    );

    // The spike, and what it leaves.
    wire up = READOUT == 0 && (GT != 0 ? h > theta_3 : h >= theta_3);
    wire down = SIGNED != 0 && h <= -retract_3 && sent_3 != 0;
    assign spike = {down && !up, up != down};
    wire signed [HB-1:0] after =
        up == down ? h : down ? h + theta_3 : HARD != 0 ? v_reset_3 : h - theta_3;
    generate
        if (SIGNED != 0) begin : g_counted
            assign sent_after = up == down ? sent_3 : down ? sent_3 - 1'b1 : sent_3 + 1'b1;
        end else begin : g_not_counted
            assign sent_after = sent_3;
        end
        if (FEW != 0) begin : g_few
            bs_keep #(.FROM(HB), .TO(VB), .KEEP(KEEP)) keep (.x(after), .y(kept));
        end else begin : g_all
            bs_resize #(.FROM(HB), .TO(VB)) fit_kept (.x(after), .y(kept));
        end
    endgenerate
endmodule
