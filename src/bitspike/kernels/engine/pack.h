// The codes of a layer in the order in which each method reads them. Layers have millions of codes: an output's are read one
// after the other, and what is written is found without a division.

// Codes int8 [O][C][taps].
struct Codes {
    const int8_t* data;
    int64_t outputs, inputs, taps;

    // Writes the codes of an output tap by tap, [taps][room], each as `as` gives it for the code as a byte. What comes after
    // the inputs stays as it is.
    void by_tap(int64_t o, int64_t room, const uint8_t* as, uint8_t* to) const {
        const uint8_t* from = reinterpret_cast<const uint8_t*>(data) + o * inputs * taps;
        for (int64_t c = 0; c < inputs; ++c)
            for (int64_t tap = 0; tap < taps; ++tap) to[tap * room + c] = as[from[c * taps + tap]];
    }
};

// What a code stands for, by the code as a byte.
struct Meaning {
    uint8_t of[256];
    explicit Meaning(int factor = 1, int offset = 0) {
        for (int byte = 0; byte < 256; ++byte) of[byte] = static_cast<uint8_t>((static_cast<int8_t>(byte) - offset) / factor);
    }
};

// [blocks][taps][units][16 outputs][4 inputs]
void pack_dot(const Codes& w, int64_t units, int8_t* to, int threads) {
    const Meaning plain;
    const int64_t room = units * 4, places = w.taps * units;
#pragma omp parallel num_threads(threads)
    {
        std::vector<uint8_t> row(static_cast<size_t>(w.taps * room));
#pragma omp for schedule(static)
        for (int64_t o = 0; o < w.outputs; ++o) {
            w.by_tap(o, room, plain.of, row.data());
            int8_t* first = to + o / 16 * places * 64 + o % 16 * 4;
            for (int64_t k = 0; k < places; ++k) std::memcpy(first + k * 64, row.data() + k * 4, 4);
        }
    }
}

// Bit p of 32 bytes. The product moves the lowest bit of each of eight bytes into the highest byte.
INLINE uint32_t plane_of(const uint8_t* bytes, int p) {
    uint32_t word = 0;
    for (int i = 0; i < 4; ++i) {
        uint64_t eight;
        std::memcpy(&eight, bytes + 8 * i, 8);
        word |= static_cast<uint32_t>((((eight >> p) & 0x0101010101010101u) * 0x0102040810204080u) >> 56) << (8 * i);
    }
    return word;
}

// [blocks][planes][taps][units][16 outputs], 32 inputs in a word
void pack_bits(const Codes& w, int64_t units, int planes, int factor, int offset, uint32_t* to, int threads) {
    const Meaning bits(factor, offset);
    const int64_t room = units * 32, places = w.taps * units;
#pragma omp parallel num_threads(threads)
    {
        std::vector<uint8_t> row(static_cast<size_t>(w.taps * room));
#pragma omp for schedule(static)
        for (int64_t o = 0; o < w.outputs; ++o) {
            w.by_tap(o, room, bits.of, row.data());
            uint32_t* first = to + o / 16 * planes * places * 16 + o % 16;
            for (int64_t k = 0; k < places; ++k)
                for (int p = 0; p < planes; ++p) first[(p * places + k) * 16] = plane_of(row.data() + k * 32, p);
        }
    }
}

// int16 [taps][units][32 inputs][outputs, padded]
void pack_events(const Codes& w, int64_t units, int64_t padded, int16_t* to, int threads) {
    const Meaning plain;
    const int64_t room = units * 32, length = w.taps * room;
#pragma omp parallel num_threads(threads)
    {
        std::vector<uint8_t> rows(static_cast<size_t>(16 * length));
#pragma omp for schedule(static)
        for (int64_t b = 0; b < padded / 16; ++b) {
            const int64_t some = std::min<int64_t>(16, w.outputs - 16 * b);
            for (int64_t i = 0; i < some; ++i) w.by_tap(16 * b + i, room, plain.of, rows.data() + i * length);
            for (int64_t k = 0; k < length; ++k)
                for (int64_t i = 0; i < some; ++i) to[k * padded + 16 * b + i] = static_cast<int8_t>(rows[static_cast<size_t>(i * length + k)]);
        }
    }
}

typedef uint8_t Sixteen __attribute__((vector_size(16)));

// The sums of all choices of some codes, less the smallest of them, which is returned. An entry's bits say which are chosen.
template <int INPUTS> INLINE int fill_table(const uint8_t* codes, uint8_t* table) {
    constexpr Sixteen chosen[4] = {{0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255},
                                   {0, 0, 255, 255, 0, 0, 255, 255, 0, 0, 255, 255, 0, 0, 255, 255},
                                   {0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255},
                                   {0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255}};
    int smallest = 0;
    for (int i = 0; i < INPUTS; ++i) smallest += std::min<int>(0, static_cast<int8_t>(codes[i]));
    Sixteen parts[1 << (INPUTS - 4)];
    parts[0] = Sixteen{} + static_cast<uint8_t>(-smallest);
    for (int i = 0; i < 4; ++i) parts[0] += chosen[i] & codes[i];
    for (int i = 4; i < INPUTS; ++i)
        for (int j = 0; j < 1 << (i - 4); ++j) parts[(1 << (i - 4)) + j] = parts[j] + codes[i];
    std::memcpy(table, parts, sizeof parts);
    return smallest;
}

// [groups][taps][units][TABLES][GROUP outputs][2**INPUTS]; `least` [taps][groups * GROUP] is what tables were left out.
template <int INPUTS, int TABLES, int GROUP>
void pack_tables(const Codes& w, int64_t units, int64_t groups, uint8_t* to, int32_t* least, int threads) {
    const Meaning plain;
    constexpr int64_t entries = int64_t{1} << INPUTS;
    const int64_t each = units * TABLES, room = each * INPUTS;
#pragma omp parallel num_threads(threads)
    {
        std::vector<uint8_t> row(static_cast<size_t>(w.taps * room));
#pragma omp for schedule(static)
        for (int64_t o = 0; o < w.outputs; ++o) {
            w.by_tap(o, room, plain.of, row.data());
            uint8_t* first = to + (o / GROUP * w.taps * each * GROUP + o % GROUP) * entries;
            for (int64_t tap = 0; tap < w.taps; ++tap) {
                int32_t smallest = 0;
                for (int64_t k = tap * each; k < (tap + 1) * each; ++k)
                    smallest += fill_table<INPUTS>(row.data() + k * INPUTS, first + k * GROUP * entries);
                least[tap * groups * GROUP + o] = smallest;
            }
        }
    }
}
