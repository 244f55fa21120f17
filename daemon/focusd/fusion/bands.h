/* Filters and passes of kernel.c for one type of sample. It includes this for two: uint16_t for what 8-bit frames
 * need, and float. It says what SAMPLE and OF(name) are, and the few steps that differ.
 *
 * Filters are chains of means of two, which need no more bits than their samples: the binomial (1 4 6 4 1) / 16
 * takes five, pyrUp's (1 6 1) / 8 three, and a processor has one instruction for each. In integers a mean rounds
 * up, by 1/256 of a level in all; what a coarser level gains so, the band has less.
 */

/* The last rows of a level, even and odd columns apart, and of the binomial across them; by row number & 7. */
typedef struct {
    SAMPLE *even[8], *odd[8], *narrow[8];
    float *line; /* room for a row of samples */
} OF(rings);

/* Lay out the rings in 26 rows; returns what comes after. */
INLINE SAMPLE *OF(arrange)(OF(rings) *rings, int pitch, float *scratch)
{
    SAMPLE *next = (SAMPLE *)(scratch + 2 * pitch) + MARGIN;
    rings->line = scratch;
    for (int i = 0; i < 8; i++, next += pitch) rings->even[i] = next;
    for (int i = 0; i < 8; i++, next += pitch) rings->odd[i] = next;
    for (int i = 0; i < 8; i++, next += pitch) rings->narrow[i] = next;
    return next;
}

INLINE SAMPLE OF(binomial)(SAMPLE a, SAMPLE b, SAMPLE c, SAMPLE d, SAMPLE e)
{
    return MEAN(MEAN(MEAN(MEAN(a, e), c), c), MEAN(b, d));
}

INLINE void OF(narrow_row)(const SAMPLE *RESTRICT even, const SAMPLE *RESTRICT odd, SAMPLE *RESTRICT out, int half)
{
    for (int x = 0; x < half; x++) out[x] = OF(binomial)(even[x - 1], odd[x - 1], even[x], odd[x], even[x + 1]);
}

INLINE void OF(join_rows)(const SAMPLE *RESTRICT a, const SAMPLE *RESTRICT b, const SAMPLE *RESTRICT c,
                          const SAMPLE *RESTRICT d, const SAMPLE *RESTRICT e, uint16_t *RESTRICT out, int half)
{
    for (int x = 0; x < half; x++) out[x] = ROUND(OF(binomial)(a[x], b[x], c[x], d[x], e[x]));
}

/* Row `y` of the next coarser level. `loaded`: rows of this one already in the rings; returns how many are. */
INLINE int OF(shrink_row)(const source_t *s, float fixed, int y, int rows, int half, int loaded, const OF(rings) *r,
                          uint16_t *out)
{
    const int last = 2 * y + 2 < rows ? 2 * y + 2 : rows - 1;
    for (; loaded <= last; loaded++) {
        SAMPLE *even = r->even[loaded & 7], *odd = r->odd[loaded & 7];
        OF(load)(s, fixed, loaded, 0, half, even, odd, r->line);
        even[-1] = even[half > 1 ? 1 : 0];
        even[half] = even[half - 1];
        odd[-1] = odd[0];
        OF(narrow_row)(even, odd, r->narrow[loaded & 7], half);
    }
    const SAMPLE *around[5];
    for (int i = 0; i < 5; i++) around[i] = r->narrow[mirror(2 * y - 2 + i, rows) & 7];
    OF(join_rows)(around[0], around[1], around[2], around[3], around[4], out, half);
    return loaded;
}

/* Between three samples of a coarser level, at the place of the middle one. */
INLINE SAMPLE OF(at)(SAMPLE before, SAMPLE here, SAMPLE after)
{
    return MEAN(MEAN(MEAN(before, after), here), here);
}

INLINE void OF(grow_even)(const uint16_t *RESTRICT above, const uint16_t *RESTRICT here,
                          const uint16_t *RESTRICT below, SAMPLE *RESTRICT out, int from, int to)
{
    for (int x = from; x < to; x++) out[x] = OF(at)(above[x], here[x], below[x]);
}

INLINE void OF(grow_odd)(const uint16_t *RESTRICT here, const uint16_t *RESTRICT below, SAMPLE *RESTRICT out,
                         int from, int to)
{
    for (int x = from; x < to; x++) out[x] = MEAN(here[x], below[x]);
}

/* Row `y` of a level between the rows of the coarser one, columns `first` to `first + count` of that, and one on
 * either side: beyond its edges mirrored before, repeated after, as pyrUp has it. */
INLINE void OF(grow)(const uint16_t *coarse, int y, int half_rows, int first, int count, int half, SAMPLE *out)
{
    const int middle = y / 2, before = middle > 0 ? middle - 1 : half_rows > 1 ? 1 : 0;
    const int after = LESSER(middle + 1, half_rows - 1);
    const int from = first > 0 ? -1 : 0, to = first + count < half ? count + 1 : count;
    const uint16_t *here = coarse + (int64_t)middle * half + first, *below = coarse + (int64_t)after * half + first;
    if (y & 1)
        OF(grow_odd)(here, below, out, from, to);
    else
        OF(grow_even)(coarse + (int64_t)before * half + first, here, below, out, from, to);
    if (from == 0) out[-1] = out[half > 1 ? 1 : 0];
    if (to == count) out[count] = out[count - 1];
}

/* Widen the range of each pair of columns by a row. */
INLINE void OF(widen_pairs)(const SAMPLE *RESTRICT even, const SAMPLE *RESTRICT odd, SAMPLE *RESTRICT least,
                            SAMPLE *RESTRICT most, int half)
{
    for (int x = 0; x < half; x++) {
        const SAMPLE a = LESSER(even[x], odd[x]), b = GREATER(even[x], odd[x]);
        least[x] = LESSER(least[x], a);
        most[x] = GREATER(most[x], b);
    }
}

INLINE void OF(join_pairs)(const SAMPLE *RESTRICT least, const SAMPLE *RESTRICT most, uint16_t *RESTRICT low,
                           uint16_t *RESTRICT high, int blocks)
{
    for (int x = 0; x < blocks; x++) {
        const SAMPLE a = LESSER(least[2 * x], least[2 * x + 1]), b = GREATER(most[2 * x], most[2 * x + 1]);
        low[x] = ROUND(a);
        high[x] = ROUND(b);
    }
}

/* Range of the blocks that end with row `y`, whose rows are in the rings; `spare`: 3 rows. */
INLINE void OF(widen_blocks)(const range_t *range, int y, int half, const OF(rings) *r, SAMPLE *spare, int pitch)
{
    SAMPLE *least = spare, *most = spare + pitch;
    uint16_t *low = (uint16_t *)(spare + 2 * pitch), *high = low + pitch;
    const int wide = range->block / 2, blocks = half / wide;
    for (int x = 0; x < half; x++) least[x] = 65535, most[x] = 0;
    for (int i = 0; i < range->block; i++)
        OF(widen_pairs)(r->even[(y - i) & 7], r->odd[(y - i) & 7], least, most, half);
    if (wide == 2)
        OF(join_pairs)(least, most, low, high, blocks);
    else
        for (int x = 0; x < blocks; x++) low[x] = ROUND(least[x]), high[x] = ROUND(most[x]);
    widen(range, range->block_low, range->block_high, (int64_t)(y / range->block) * blocks, blocks, low, high);
}

/* Mean distance of 2x2 pixels from the coarser level, `above` and `below` its rows between theirs. */
INLINE void OF(measure)(const SAMPLE *RESTRICT even, const SAMPLE *RESTRICT odd, const SAMPLE *RESTRICT above,
                        const SAMPLE *RESTRICT lower_even, const SAMPLE *RESTRICT lower_odd,
                        const SAMPLE *RESTRICT below, uint16_t *RESTRICT out, int half, float fixed)
{
    (void)fixed;
    for (int x = 0; x < half; x++) {
        const SAMPLE a = OF(at)(above[x - 1], above[x], above[x + 1]), b = MEAN(above[x], above[x + 1]);
        const SAMPLE c = OF(at)(below[x - 1], below[x], below[x + 1]), d = MEAN(below[x], below[x + 1]);
        const SAMPLE upper = MEAN(DISTANCE(even[x], a), DISTANCE(odd[x], b));
        const SAMPLE lower = MEAN(DISTANCE(lower_even[x], c), DISTANCE(lower_odd[x], d));
        out[x] = DETAIL(upper, lower, fixed);
    }
}

/* The same of each pixel of a row. */
INLINE void OF(measure_row)(const SAMPLE *RESTRICT even, const SAMPLE *RESTRICT odd, const SAMPLE *RESTRICT coarse,
                            uint16_t *RESTRICT out, int half, float fixed)
{
    (void)fixed;
    for (int x = 0; x < half; x++) {
        const SAMPLE a = DISTANCE(even[x], OF(at)(coarse[x - 1], coarse[x], coarse[x + 1]));
        const SAMPLE b = DISTANCE(odd[x], MEAN(coarse[x], coarse[x + 1]));
        out[2 * x] = DETAIL(a, a, fixed);
        out[2 * x + 1] = DETAIL(b, b, fixed);
    }
}

INLINE void OF(split)(const source_t *s, int half_rows, int half, float fixed, uint16_t *coarse, uint16_t *detail,
                      int halved, const range_t *range, float *scratch)
{
    const int pitch = half + 2 * MARGIN;
    OF(rings) rings;
    SAMPLE *spare = OF(arrange)(&rings, pitch, scratch), *above = spare, *below = spare + pitch;
    int loaded = 0;
    for (int y = 0; y <= half_rows; y++) {
        if (y < half_rows) {
            uint16_t *out = coarse + (int64_t)y * half;
            loaded = OF(shrink_row)(s, fixed, y, 2 * half_rows, half, loaded, &rings, out);
            if (range) widen(range, range->low, range->high, (int64_t)y * half, half, out, out);
            if (range && range->block_low && (2 * y + 2) % range->block == 0)
                OF(widen_blocks)(range, 2 * y + 1, half, &rings, spare, pitch);
        }
        if (y == 0 || !detail) continue;
        /* The row pair before this one, now that the coarser rows on both sides of it are there. */
        const int upper = 2 * y - 2, lower = upper + 1;
        OF(grow)(coarse, upper, half_rows, 0, half, half, above);
        OF(grow)(coarse, lower, half_rows, 0, half, half, below);
        const SAMPLE *upper_even = rings.even[upper & 7], *upper_odd = rings.odd[upper & 7];
        const SAMPLE *lower_even = rings.even[lower & 7], *lower_odd = rings.odd[lower & 7];
        if (halved) {
            uint16_t *out = detail + (int64_t)(y - 1) * half;
            OF(measure)(upper_even, upper_odd, above, lower_even, lower_odd, below, out, half, fixed);
        } else {
            OF(measure_row)(upper_even, upper_odd, above, detail + (int64_t)upper * 2 * half, half, fixed);
            OF(measure_row)(lower_even, lower_odd, below, detail + (int64_t)lower * 2 * half, half, fixed);
        }
    }
}

INLINE void OF(add_band)(const SAMPLE *RESTRICT even, const SAMPLE *RESTRICT odd, const SAMPLE *RESTRICT coarse,
                         const float *RESTRICT weight_even, const float *RESTRICT weight_odd, float *RESTRICT left,
                         float *RESTRICT right, int count, float unit)
{
    for (int x = 0; x < count; x++) {
        const SAMPLE grown = OF(at)(coarse[x - 1], coarse[x], coarse[x + 1]);
        left[x] += weight_even[x] * (BAND(even[x], grown) * unit);
    }
    for (int x = 0; x < count; x++) {
        const SAMPLE grown = MEAN(coarse[x], coarse[x + 1]);
        right[x] += weight_odd[x] * (BAND(odd[x], grown) * unit);
    }
}

/* Add a part of a row of a band, `count` pairs of columns from `first` on, times its weights. */
INLINE void OF(gather)(const source_t *s, const uint16_t *coarse, int y, int half_rows, int first, int count,
                       int half, float fixed, const float *weight_even, const float *weight_odd, float *sum)
{
    SAMPLE grown[PART + 2], even[PART], odd[PART];
    float line[2 * PART];
    OF(grow)(coarse, y, half_rows, first, count, half, grown + 1);
    OF(load)(s, fixed, y, first, count, even, odd, line);
    OF(add_band)(even, odd, grown + 1, weight_even, weight_odd, sum, sum + half, count, BAND_UNITS / fixed);
}
