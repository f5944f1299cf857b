// Numbers per channel along a run of memory, in either layout, so that loops over the run never ask for the channel.

// One parameter per channel, or one for all, as one float per element of a block.
class Spread {
public:
    Spread(const float* values, float single, const Layer& layer, int64_t block)
        : values_(values), channels_(layer.channels), inner_(layer.inner) {
        buffer_.assign(static_cast<size_t>((patterned() ? channels_ : 0) + block + LANES), single);
        if (patterned())
            for (size_t i = 0; i < buffer_.size(); ++i) buffer_[i] = values[i % static_cast<size_t>(channels_)];
    }

    // Elements [at, at + size) of a step; after them, at least one more vector may be read.
    const float* of(int64_t at, int64_t size) {
        if (patterned()) return buffer_.data() + at % channels_;
        if (values_) {
            int64_t channel = at / inner_ % channels_, left = inner_ - at % inner_;
            for (int64_t i = 0; i < size; left = inner_, channel = channel + 1 == channels_ ? 0 : channel + 1) {
                const int64_t end = std::min(size, i + left);
                std::fill(buffer_.data() + i, buffer_.data() + end, values_[channel]);
                i = end;
            }
        }
        return buffer_.data();
    }

private:
    // Channels innermost: the values repeat, and a block starts anywhere in the pattern.
    bool patterned() const { return values_ && inner_ == 1; }
    const float* values_;
    int64_t channels_, inner_;
    std::vector<float> buffer_;
};

// Sums per channel of one float per element: single precision within a few blocks, double precision beyond.
class Sums {
public:
    Sums(const Layer& layer, int64_t block)
        : channels_(layer.channels), inner_(layer.inner), patience_(std::max<int64_t>(1, 64 / layer.steps)), totals(static_cast<size_t>(channels_)) {
        buffer_.assign(static_cast<size_t>((inner_ == 1 ? channels_ : 0) + block + LANES), 0.0f);
    }

    // Where to add for elements [at, at + size) of a step.
    float* of(int64_t at, int64_t) { return buffer_.data() + (inner_ == 1 ? at % channels_ : 0); }

    // Call after every block, with what was given to `of`.
    void done(int64_t at, int64_t size) {
        if (inner_ == 1) {
            if (++waiting_ == patience_) close();
            return;
        }
        int64_t channel = at / inner_ % channels_, left = inner_ - at % inner_;
        for (int64_t i = 0; i < size; left = inner_, channel = channel + 1 == channels_ ? 0 : channel + 1) {
            const int64_t end = std::min(size, i + left);
            double sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t j = i; j < end; ++j) sum += buffer_[static_cast<size_t>(j)];
            totals[static_cast<size_t>(channel)] += sum;
            i = end;
        }
        std::fill(buffer_.begin(), buffer_.end(), 0.0f);
    }

    // Move what is still in single precision; call once at the end.
    void close() {
        waiting_ = 0;
        if (inner_ != 1) return;
        const int64_t length = static_cast<int64_t>(buffer_.size());
        for (int64_t i = 0; i < length; i += channels_) {
            const int64_t end = std::min(channels_, length - i);
#pragma omp simd
            for (int64_t c = 0; c < end; ++c) totals[static_cast<size_t>(c)] += buffer_[static_cast<size_t>(i + c)];
        }
        std::fill(buffer_.begin(), buffer_.end(), 0.0f);
    }

private:
    int64_t channels_, inner_, patience_, waiting_ = 0;
    std::vector<float> buffer_;

public:
    std::vector<double> totals;
};

// One block of all steps as the loops see it: whole vectors only.
template <class T> struct Block {
    int64_t steps, size;  // size is a multiple of LANES
    const T *x, *residual, *grad;
    T* out;
    int64_t x_step, residual_step, grad_step, out_step;
    const float *mean, *gain, *shift;
};

// The norm of one vector of channels; nothing without NORMED.
struct Map {
    V mean, gain, shift;
};
template <bool NORMED, class T> INLINE Map map_of(const Block<T>& b, int64_t j) {
    if (!NORMED) return Map{V{}, V{}, V{}};
    return Map{load(b.mean + j), load(b.gain + j), load(b.shift + j)};
}

// What a layer reads: its input as it is, or normalized and with the residual added.
template <bool NORMED, class T> INLINE V input_of(const Block<T>& b, const Map& map, int64_t t, int64_t j) {
    V x = load(b.x + t * b.x_step + j);
    if (!NORMED) return x;
    x = (x - map.mean) * map.gain + map.shift;
    return b.residual ? x + load(b.residual + t * b.residual_step + j) : x;
}

// Where channels are innermost and whole vectors of them, a block is rows of channels: a loop over one vector of channels
// takes all rows, with what belongs to the channels in registers. Returns the length of a row; else one longer than the block.
INLINE int64_t row_of(const Layer& layer, int64_t at, int64_t size) {
    const bool rows = layer.inner == 1 && layer.channels % LANES == 0 && at % layer.channels == 0 && size % layer.channels == 0;
    return rows ? layer.channels : size + LANES;
}
// A block of about `length` elements, whole rows where `row_of` can use them.
INLINE int64_t block_of(const Layer& layer, int64_t length) {
    const bool rows = layer.inner == 1 && layer.channels % LANES == 0 && layer.channels <= length;
    return rows ? length / layer.channels * layer.channels : length;
}

// Runs `work(block, at, size)` over whole vectors in place, and over a ragged end through a copy of one vector per step.
// `at` counts elements of a step; memory after `size` in the copy is 0 in what is read and dropped in what is written.
template <class T, class Work> INLINE void in_vectors(const Block<T>& whole, int64_t at, int64_t size, std::vector<T>& copy, Work& work) {
    Block<T> b = whole;
    b.x += at;
    if (b.residual) b.residual += at;
    if (b.grad) b.grad += at;
    b.out += at;
    b.size = size / LANES * LANES;
    if (b.size) work(b, at, b.size);
    const int64_t rest = size - b.size, start = at + b.size;
    if (!rest) return;
    copy.assign(static_cast<size_t>(4 * b.steps * LANES), T{});
    T* memory = copy.data();
    const auto brought = [&](const T* from, int64_t step) {
        T* to = memory;
        memory += b.steps * LANES;
        for (int64_t t = 0; from && t < b.steps; ++t) std::copy(from + t * step, from + t * step + rest, to + t * LANES);
        return to;
    };
    Block<T> end = b;
    end.x = brought(b.x + b.size, b.x_step);
    end.residual = b.residual ? brought(b.residual + b.size, b.residual_step) : nullptr;
    end.grad = b.grad ? brought(b.grad + b.size, b.grad_step) : nullptr;
    end.out = memory;
    end.size = end.x_step = end.residual_step = end.grad_step = end.out_step = LANES;
    work(end, start, rest);
    for (int64_t t = 0; t < b.steps; ++t)
        std::copy(end.out + t * LANES, end.out + t * LANES + rest, b.out + b.size + t * b.out_step);
}
