# A row of what a placed and routed design takes: target, cells, memories, MHz, cycles and microseconds of a sample.
/cycles a sample/ { cycles = $1 }
/ICESTORM_LC:|TRELLIS_COMB:/ { sub(/.*: */, ""); sub(/ *[0-9]+%.*/, ""); gsub(/ /, ""); cells = $0 }
/ICESTORM_RAM:|DP16KD:/ { sub(/.*: */, ""); sub(/ *[0-9]+%.*/, ""); gsub(/ /, ""); memories = $0 }
/Max frequency for clock/ { for (i = 1; i <= NF; i++) if ($i == "MHz") mhz = $(i - 1) }
END {
    printf "| %s | %s cells | %s block memories | %.1f MHz | %d cycles a sample | %.0f us |\n",
        target, cells, memories, mhz, cycles, cycles / mhz
}
