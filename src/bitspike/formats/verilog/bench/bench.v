// Runs a network on its vectors, compares every spike, every potential and every output, and counts cycles.
//
// It reads vectors.txt: for each sample the words of the input, the potential and spike of each neuron in the order in which
// they are run, and the outputs with their addresses. +found=FILE writes what was found in that order; +samples=N stops early.
`include "sizes.vh"
module bench;
    reg clk = 1'b0, rst = 1'b1, start = 1'b0, in_we = 1'b0;
    reg [`BS_IN_ADDRESS-1:0] in_addr = 0;
    reg [`BS_IN_WORD-1:0] in_data = 0;
    reg [`BS_OUT_ADDRESS-1:0] out_addr = 0;
    wire busy, seen;
    wire [`BS_LAYER-1:0] seen_layer;
    wire signed [1:0] seen_spike;
    wire signed [63:0] seen_potential;
    wire signed [`BS_OUT_WORD-1:0] out_data;
    `BS_TOP dut (
        .clk(clk), .rst(rst), .start(start), .busy(busy), .in_we(in_we), .in_addr(in_addr), .in_data(in_data),
        .out_addr(out_addr), .out_data(out_data), .seen(seen), .seen_layer(seen_layer), .seen_spike(seen_spike),
        .seen_potential(seen_potential)
    );
    always #5 clk = !clk;

    integer vectors_file, found_file, samples, sample, frame, word, output_number, at, got, seen_now;
    reg writes;
    reg signed [63:0] want_potential, want_output;
    integer want_spike;
    reg [63:0] cycles, least, most, now, spikes, wrong, outputs, wrong_outputs;
    reg [8*1024-1:0] name;
    reg [8*200-1:0] line;

    always @(posedge clk) begin
        if (busy) now = now + 1;
        if (seen) begin
            got = $fscanf(vectors_file, "%d %d", want_potential, want_spike);
            seen_now = seen_now + 1;
            spikes = spikes + 1;
            if (writes) $fwrite(found_file, "%0d %0d\n", seen_potential, seen_spike);
            if (got != 2 || seen_potential !== want_potential || {{30{seen_spike[1]}}, seen_spike} !== want_spike) begin
                wrong = wrong + 1;
                if (wrong == 1)
                    $display("first difference: sample %0d, layer %0d of the neurons, value %0d: potential %0d, spike %0d; expected %0d, %0d",
                        sample, seen_layer, seen_now - 1, seen_potential, seen_spike, want_potential, want_spike);
            end
        end
        if (now > `BS_MOST_CYCLES) begin
            $display("FAILED: the network still runs after %0d cycles", now);
            $finish;
        end
    end

    initial begin
        samples = `BS_SAMPLES;
        got = $value$plusargs("samples=%d", samples);
        if (samples > `BS_SAMPLES) samples = `BS_SAMPLES;
        writes = $value$plusargs("found=%s", name) != 0;
        if (writes) found_file = $fopen(name, "w");
        vectors_file = $fopen("vectors.txt", "r");
        if (vectors_file == 0) begin
            $display("FAILED: vectors.txt cannot be read");
            $finish;
        end
        got = $fgets(line, vectors_file);
        cycles = 0; least = 0; most = 0; spikes = 0; wrong = 0; outputs = 0; wrong_outputs = 0; now = 0; seen_now = 0;
        repeat (4) @(negedge clk);
        rst = 1'b0;
        for (sample = 0; sample < samples; sample = sample + 1) begin
            now = 0;
            for (frame = 0; frame < `BS_FRAMES; frame = frame + 1) begin
                for (word = 0; word < `BS_IN_WORDS; word = word + 1) begin
                    got = $fscanf(vectors_file, "%h", in_data);
                    in_addr = word[`BS_IN_ADDRESS-1:0];
                    in_we = 1'b1;
                    @(negedge clk);
                end
                in_we = 1'b0;
                start = 1'b1;
                seen_now = 0;
                @(negedge clk);
                start = 1'b0;
                while (busy) @(negedge clk);
                if (seen_now != `BS_VALUES) begin
                    wrong = wrong + 1;
                    $display("sample %0d: %0d neurons were run, expected %0d", sample, seen_now, `BS_VALUES);
                end
            end
            cycles = cycles + now;
            if (sample == 0 || now < least) least = now;
            if (now > most) most = now;
            for (output_number = 0; output_number < `BS_OUTPUTS; output_number = output_number + 1) begin
                got = $fscanf(vectors_file, "%d %d", at, want_output);
                out_addr = at[`BS_OUT_ADDRESS-1:0];
                @(negedge clk);
                @(negedge clk);
                outputs = outputs + 1;
                if (writes) $fwrite(found_file, "%0d\n", out_data);
                if ({{(64 - `BS_OUT_WORD){out_data[`BS_OUT_WORD-1]}}, out_data} !== want_output) begin
                    wrong_outputs = wrong_outputs + 1;
                    if (wrong_outputs == 1)
                        $display("first difference of an output: sample %0d, address %0d: %0d, expected %0d",
                            sample, at, out_data, want_output);
                end
            end
        end
        $display("%0d samples: %0d spikes and as many potentials, %0d of them differ; %0d outputs, %0d differ",
            samples, spikes, wrong, outputs, wrong_outputs);
        $display("%0d cycles a sample (%0d to %0d)", cycles / samples, least, most);
        if (samples > 0 && wrong == 0 && wrong_outputs == 0) $display("all equal");
        else $display("FAILED: not all are equal");
        if (writes) $fclose(found_file);
        $finish;
    end
endmodule
