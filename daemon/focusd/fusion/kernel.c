/* The inner loops of the pyramid rule: what focusd/fusion/plain.py does with OpenCV calls, row by row.
 *
 * Nothing here is allocated or kept: every buffer comes from the caller, rows pass through a few kilobytes
 * that stay in the cache, and a frame is read twice (once to measure its detail, once to add it). All
 * arithmetic is on integers or single floats, element by element and in a fixed order, so built with
 * -ffp-contract=off the result is the same to the bit whatever the width of the machine's vectors.
 *
 * Planes between the passes are uint16 in fixed point. Rounding them loses nothing: a band is what is left
 * after the rounded coarser level is taken away. Where 16 bits do, integers are worked on, not floats: there are
 * twice as many to a vector, and nothing to convert. Only sums, weights and what is multiplied by them are float.
 *
 * A row of a level is worked on as its even and its odd columns apart, so that each filter reads memory in
 * order. Buffers have a margin on both sides. Inner loops are functions of their own because gcc believes
 * RESTRICT of parameters alone.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define KERNEL_VERSION 4

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "reads pairs of bytes as little-endian numbers"
#endif

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__gnu_linux__) && \
    !defined(KERNEL_PORTABLE)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif

#include "rows.h"

/* Units of a blurred plane in one level of 8-bit frames. Such planes are worked on in 16 bits: their bands are off
 * by a hundredth of a level or so, which is nothing to 8 bits and something to 16. */
#define FIXED_8 256.0f

/* DETAIL_UNIT: of a detail or an energy, in one 8-bit level. PART: columns that are gathered at a time, as pairs.
 * ROUNDED_OFF: what shares, which round down, have taken from an energy by the end. */
enum { MARGIN = 8, PART = 128, DETAIL_UNIT = 512, ROUNDED_OFF = 3 };

typedef struct {
    float fixed;        /* units of a blurred plane in one 8-bit level */
    float from_finer, from_coarser;
    float evidence, evidence_span;
    float cap, square_unit, floor[5];
    int32_t half_power[5]; /* 12, 10, 7 or 5 */
    float base_offset, base_unit;
} rule_t;

/* Smallest and largest luma of any frame; in the planes' fixed point, or its upper half. */
typedef struct {
    void *low, *high;             /* of the coarser level, a value a pixel */
    void *block_low, *block_high; /* of the level itself, a value a block; NULL above level 0 */
    int32_t block, sample_bytes;
} range_t;

/* Widen the range from its value `first` on. */
INLINE void widen(const range_t *range, void *low, void *high, int64_t first, int count,
                  const uint16_t *RESTRICT smallest, const uint16_t *RESTRICT largest)
{
    if (range->sample_bytes == 1) {
        uint8_t *RESTRICT least = (uint8_t *)low + first, *RESTRICT most = (uint8_t *)high + first;
        for (int x = 0; x < count; x++) {
            const uint8_t low8 = (uint8_t)((uint16_t)(LESSER(smallest[x], 65407) + 128) >> 8);
            const uint8_t high8 = (uint8_t)((uint16_t)(LESSER(largest[x], 65407) + 128) >> 8);
            least[x] = LESSER(low8, least[x]);
            most[x] = GREATER(high8, most[x]);
        }
    } else {
        uint16_t *RESTRICT least = (uint16_t *)low + first, *RESTRICT most = (uint16_t *)high + first;
        for (int x = 0; x < count; x++) {
            least[x] = LESSER(smallest[x], least[x]);
            most[x] = GREATER(largest[x], most[x]);
        }
    }
}

#define SAMPLE uint16_t
#define OF(name) name##_16
#define MEAN mean16
#define DISTANCE distance16
#define ROUND(value) (value)
/* From means of two, no more than window_columns can add. */
#define DETAIL(a, b, fixed) ((uint16_t)(LESSER(a, 32760) + LESSER(b, 32760)))
/* Halved to fit with its sign. */
#define BAND(a, b) ((float)(int16_t)(((a) >> 1) - ((b) >> 1)))
#define BAND_UNITS 2.0f
#include "bands.h"
#undef SAMPLE
#undef OF
#undef MEAN
#undef DISTANCE
#undef ROUND
#undef DETAIL
#undef BAND
#undef BAND_UNITS

#define SAMPLE float
#define OF(name) name##_float
#define MEAN mean_float
#define DISTANCE distance_float
#define ROUND(value) STORE16(value)
#define DETAIL(a, b, fixed) ((uint16_t)LESSER(STORE16(((a) + (b)) * (DETAIL_UNIT / 2 / (fixed))), 65520))
#define BAND(a, b) ((a) - (b))
#define BAND_UNITS 1.0f
#include "bands.h"

/* First pass over a level: the next coarser level, and the magnitude of the band between them.
 *
 * `detail`: NULL when only the coarser level is wanted. `halved`: the band's magnitude as the mean of 2x2
 * pixels, on the half grid, else for every pixel.
 * `range`: NULL, or widened by this frame.
 * `scratch`: 29 rows of half + 2 MARGIN floats. */
WIDE void focusd_split(const source_t *s, int half_rows, int half, float fixed, uint16_t *coarse, uint16_t *detail,
                       int halved, const range_t *range, float *scratch)
{
    if (fixed == FIXED_8)
        split_16(s, half_rows, half, fixed, coarse, detail, halved, range, scratch);
    else
        split_float(s, half_rows, half, fixed, coarse, detail, halved, range, scratch);
}

/* How a level's energy is measured. */
typedef struct {
    float near[3]; /* taps of the narrow window: in the middle, beside it, two away */
    int32_t reach; /* half the width of the wide window: 2 or 4 */
    int32_t boxed; /* evidence from a box 3x3, not from the narrow window */
    int32_t own;   /* evidence: 0 its own, 1 its own or that of the level below, 2 that of the level below */
    float noise;   /* mean magnitude of noise that evidence is held against, levels */
    float finer;   /* the same of this level, over that of the level below */
} window_t;

/* The same in 16 bits. */
typedef struct {
    uint16_t middle, side, away;    /* taps of the narrow window, the latter two of a mean of two */
    uint16_t least, span, per_span; /* evidence of focus, and from there on */
    uint16_t finer;
} focus_t;

/* Nine rows of details, the fifth in the middle, to the columns of the windows. */
INLINE void window_columns(uint16_t *const *row, uint16_t *RESTRICT close, uint16_t *RESTRICT far,
                           uint16_t *RESTRICT box, int cols, const int reach, const int boxed, const int wider, focus_t f)
{
    const uint16_t *RESTRICT o = row[0], *RESTRICT p = row[1], *RESTRICT a = row[2], *RESTRICT b = row[3];
    const uint16_t *RESTRICT c = row[4], *RESTRICT d = row[5], *RESTRICT e = row[6], *RESTRICT q = row[7];
    const uint16_t *RESTRICT r = row[8];
    for (int x = 0; x < cols; x++) {
        uint16_t near = (uint16_t)(share16(mean16(b[x], d[x]), f.side) + share16(c[x], f.middle));
        if (wider) near = (uint16_t)(near + share16(mean16(a[x], e[x]), f.away));
        close[x] = near;
        /* Fewer bits for the sum to fit, and fewer again for the sum of sums. */
        uint16_t sum = (uint16_t)((a[x] >> 3) + (b[x] >> 3) + (c[x] >> 3) + (d[x] >> 3) + (e[x] >> 3));
        if (reach == 4) {
            const uint16_t outer = (uint16_t)((o[x] >> 4) + (p[x] >> 4) + (q[x] >> 4) + (r[x] >> 4));
            sum = (uint16_t)(((sum + 1) >> 1) + outer);
        }
        far[x] = (uint16_t)((uint16_t)(sum + 2) >> 2);
        if (boxed) box[x] = (uint16_t)((b[x] >> 2) + (c[x] >> 2) + (d[x] >> 2) + 1);
    }
    for (int i = 1; i <= 4; i++) {
        const int left = mirror(-i, cols), right = mirror(cols - 1 + i, cols);
        close[-i] = close[left], close[cols - 1 + i] = close[right];
        far[-i] = far[left], far[cols - 1 + i] = far[right];
        if (boxed) box[-i] = box[left], box[cols - 1 + i] = box[right];
    }
}

INLINE void add_row(const uint16_t *RESTRICT more, uint16_t *RESTRICT out, int count)
{
    for (int x = 0; x < count; x++) out[x] = sum16(out[x], more[x]);
}

/* The windows, and the narrow one's share where focus is seen. */
INLINE void window_rows(const uint16_t *RESTRICT close, const uint16_t *RESTRICT far, const uint16_t *RESTRICT box,
                        uint16_t *RESTRICT seen, uint16_t *RESTRICT energy, uint16_t *RESTRICT shown, int cols,
                        const int reach, const int boxed, const int wider, const int own, focus_t f)
{
    const uint16_t of25 = fraction16(32.0f / 25.0f - 1.0f), of81 = fraction16(128.0f / 81.0f - 1.0f);
    const uint16_t of9 = fraction16(16.0f / 9.0f - 1.0f);
    for (int x = 0; x < cols; x++) {
        uint16_t narrow = (uint16_t)(share16(mean16(close[x - 1], close[x + 1]), f.side) + share16(close[x], f.middle));
        if (wider) narrow = (uint16_t)(narrow + share16(mean16(close[x - 2], close[x + 2]), f.away));
        uint16_t sum = (uint16_t)((far[x - 2] + far[x + 2]) + (far[x - 1] + far[x + 1]) + far[x]);
        if (reach == 4) {
            const uint16_t outer = (uint16_t)((far[x - 4] >> 1) + (far[x + 4] >> 1) + (far[x - 3] >> 1) + (far[x + 3] >> 1));
            sum = (uint16_t)(((sum + 1) >> 1) + outer);
        }
        const uint16_t wide = (uint16_t)(sum + share16(sum, reach == 4 ? of81 : of25));
        const uint16_t three = boxed ? (uint16_t)((box[x - 1] >> 2) + (box[x] >> 2) + (box[x + 1] >> 2) + 1) : 0;
        const uint16_t mine = boxed ? (uint16_t)(three + share16(three, of9)) : narrow;
        uint16_t v = mine;
        if (own == 1) {
            const uint16_t finer = share16(seen[x], f.finer);
            seen[x] = v = GREATER(mine, finer);
        }
        if (own == 2) v = seen[x];
        const uint16_t over = (uint16_t)(GREATER(v, f.least) - f.least);
        const uint16_t share = (uint16_t)(LESSER(over, f.span) * f.per_span);
        energy[x] = (uint16_t)(share16(narrow, share) + share16(wide, (uint16_t)~share) + ROUNDED_OFF);
        shown[x] = mine;
    }
}

/* Energy of a level from the magnitude of its band, in place.
 *
 * The narrow window places what stands out of the noise, the wide one gathers the rest.
 * `evidence`: the window that focus is looked for with, above level 0; holds that of the level below on this grid,
 * and is replaced unless the level has none of its own. `sharp`: NULL, or takes that window; `adds`: to what is there.
 * `scratch`: 11 rows of cols + 2 MARGIN floats. */
INLINE void energy_of(uint16_t *plane, uint16_t *evidence, uint16_t *sharp, int adds, int rows, int cols,
                      const int reach, const int boxed, const int wider, const int own, focus_t f, float *scratch)
{
    const int pitch = cols + 2 * MARGIN;
    uint16_t *detail[16], *next = (uint16_t *)scratch + MARGIN;
    for (int i = 0; i < 16; i++, next += pitch) detail[i] = next;
    uint16_t *close = next, *far = close + pitch, *box = far + pitch, *unseen = box + pitch, *shown = unseen + pitch;
    int filled = 0;
    for (int y = 0; y < rows; y++) {
        for (; filled < rows && filled <= y + 4; filled++)
            memcpy(detail[filled & 15], plane + (int64_t)filled * cols, (size_t)cols * sizeof *plane);
        uint16_t *row[9];
        for (int i = 0; i < 9; i++) row[i] = detail[mirror(y + i - 4, rows) & 15];
        window_columns(row, close, far, box, cols, reach, boxed, wider, f);
        const int64_t start = (int64_t)y * cols;
        uint16_t *kept = sharp && !adds ? sharp + start : shown;
        window_rows(close, far, box, own ? evidence + start : unseen, plane + start, kept, cols, reach, boxed, wider, own, f);
        if (sharp && adds) add_row(shown, sharp + start, cols);
    }
}

WIDE void focusd_energy(uint16_t *plane, uint16_t *evidence, uint16_t *sharp, int adds, int rows, int cols,
                        const window_t *w, const rule_t *rule, float *scratch)
{
    const float noise = w->noise * DETAIL_UNIT;
    focus_t f;
    f.middle = fraction16(w->near[0]);
    f.side = fraction16(2.0f * w->near[1]);
    f.away = fraction16(2.0f * w->near[2]);
    f.least = (uint16_t)(int32_t)LESSER(rule->evidence * noise + 0.5f, 65535.0f);
    f.span = (uint16_t)(int32_t)GREATER(LESSER(rule->evidence_span * noise + 0.5f, 65535.0f), 1.0f);
    f.per_span = (uint16_t)(65535 / f.span);
    f.finer = fraction16(w->finer);
    /* A loop for each kind of level, without a branch. */
    if (w->reach == 2 && w->own == 0)
        energy_of(plane, evidence, sharp, adds, rows, cols, 2, 0, 0, 0, f, scratch);
    else if (w->reach == 2 && w->own == 1)
        energy_of(plane, evidence, sharp, adds, rows, cols, 2, 0, 0, 1, f, scratch);
    else if (w->reach == 2)
        energy_of(plane, evidence, sharp, adds, rows, cols, 2, 0, 0, 2, f, scratch);
    else if (w->own == 1)
        energy_of(plane, evidence, sharp, adds, rows, cols, 4, 1, 0, 1, f, scratch);
    else if (w->near[2] == 0.0f)
        energy_of(plane, evidence, sharp, adds, rows, cols, 4, 0, 0, 2, f, scratch);
    else
        energy_of(plane, evidence, sharp, adds, rows, cols, 4, 0, 1, 2, f, scratch);
}

/* Mean of 2x2 samples. */
WIDE void focusd_halve(const uint16_t *in, int half_rows, int half, uint16_t *out)
{
    for (int y = 0; y < half_rows; y++) {
        const uint16_t *RESTRICT a = in + (int64_t)4 * y * half, *RESTRICT b = a + 2 * half;
        uint16_t *RESTRICT to = out + (int64_t)y * half;
        for (int x = 0; x < half; x++)
            to[x] = (uint16_t)(((uint32_t)a[2 * x] + a[2 * x + 1] + b[2 * x] + b[2 * x + 1] + 2) >> 2);
    }
}

/* Add a share of the finer level's energies to a level's. `scratch`: 15 rows of half + 2 MARGIN floats. */
WIDE void focusd_carry_up(const source_t *finer, int half_rows, int half, float share, uint16_t *energy,
                          float *scratch)
{
    rings_16 rings;
    uint16_t *line = arrange_16(&rings, half + 2 * MARGIN, scratch);
    const uint16_t part = fraction16(share);
    int loaded = 0;
    for (int y = 0; y < half_rows; y++) {
        loaded = shrink_row_16(finer, 1.0f, y, 2 * half_rows, half, loaded, &rings, line);
        uint16_t *out = energy + (int64_t)y * half;
        for (int x = 0; x < half; x++) out[x] = sum16(out[x], share16(line[x], part));
    }
}

INLINE void add_share(const uint16_t *RESTRICT grown, uint16_t *RESTRICT out, int half, uint16_t part)
{
    for (int x = 0; x < half; x++) {
        out[2 * x] = sum16(out[2 * x], share16(at_16(grown[x - 1], grown[x], grown[x + 1]), part));
        out[2 * x + 1] = sum16(out[2 * x + 1], share16(mean16(grown[x], grown[x + 1]), part));
    }
}

/* Add a share of the coarser level's energies. `scratch`: a row of half + 2 MARGIN floats. */
WIDE void focusd_carry_down(const uint16_t *coarser, int half_rows, int half, float share, uint16_t *energy,
                            float *scratch)
{
    uint16_t *grown = (uint16_t *)scratch + MARGIN;
    for (int y = 0; y < 2 * half_rows; y++) {
        grow_16(coarser, y, half_rows, 0, half, half, grown);
        add_share(grown, energy + (int64_t)y * 2 * half, half, fraction16(share));
    }
}

/* Add a share of the plane of a level of the same size. */
WIDE void focusd_carry_over(const uint16_t *RESTRICT other, int64_t count, float share, uint16_t *RESTRICT energy)
{
    const uint16_t part = fraction16(share);
    for (int64_t i = 0; i < count; i++) energy[i] = sum16(energy[i], share16(other[i], part));
}

/* Make a plane up to twice as large. */
WIDE void focusd_scale(uint16_t *plane, int64_t count, float gain)
{
    const uint16_t half = fraction16(gain * 0.5f);
    for (int64_t i = 0; i < count; i++) {
        const uint16_t part = share16(plane[i], half);
        plane[i] = sum16(part, part);
    }
}

/* Weight of an energy: its square, and a floor, to a power. */
typedef struct {
    uint16_t cap;
    float per_unit, least;
    int half_power;
} power_t;

INLINE float weight_of(uint16_t energy, const int half_power, power_t power)
{
    const float e = (float)energy, x = e * e * power.per_unit + power.least;
    const float x2 = x * x, x4 = x2 * x2;
    return half_power == 12 ? x4 * x4 * x4 : half_power == 10 ? x4 * x4 * x2 : half_power == 7 ? x4 * x2 * x : x4 * x;
}

/* A row of energies a quarter of the way to another. */
INLINE void smooth_row(const uint16_t *RESTRICT here, const uint16_t *RESTRICT other, uint16_t *RESTRICT out,
                       int from, int to)
{
    for (int x = from; x < to; x++) out[x] = mean16(mean16(here[x], other[x]), here[x]);
}

/* Energies of the even and the odd columns: between those of a half grid, or each its own. */
INLINE void strengths_between(const uint16_t *RESTRICT smooth, uint16_t *RESTRICT even, uint16_t *RESTRICT odd, int count,
                              uint16_t cap)
{
    for (int x = 0; x < count; x++) {
        const uint16_t e = mean16(mean16(smooth[x - 1], smooth[x]), smooth[x]);
        const uint16_t o = mean16(mean16(smooth[x + 1], smooth[x]), smooth[x]);
        even[x] = LESSER(e, cap);
        odd[x] = LESSER(o, cap);
    }
}

INLINE void strengths_apart(const uint16_t *RESTRICT row, uint16_t *RESTRICT even, uint16_t *RESTRICT odd, int count,
                            uint16_t cap)
{
    for (int x = 0; x < count; x++) even[x] = LESSER(row[2 * x], cap), odd[x] = LESSER(row[2 * x + 1], cap);
}

/* Weights of a row of energies; added to `total` if they are `counted`. */
INLINE void weigh(const uint16_t *RESTRICT energy, float *RESTRICT out, float *RESTRICT total, int count,
                  const int half_power, power_t power, const int counted)
{
    for (int x = 0; x < count; x++) {
        out[x] = weight_of(energy[x], half_power, power);
        if (counted) total[x] += out[x];
    }
}

INLINE void weigh_row(const uint16_t *energy, float *out, float *total, int count, power_t power, const int counted)
{
    /* A loop for each power, without a branch. */
    if (power.half_power == 12)
        weigh(energy, out, total, count, 12, power, counted);
    else if (power.half_power == 10)
        weigh(energy, out, total, count, 10, power, counted);
    else if (power.half_power == 7)
        weigh(energy, out, total, count, 7, power, counted);
    else
        weigh(energy, out, total, count, 5, power, counted);
}

/* Second pass over a level: add each plane's band times its weight, and the weights.
 *
 * Rows of `sums` and `weights` hold the even columns and then the odd ones.
 *
 * `sources`, `coarse`, `sums`: one for each of `count` planes (1 to 3) that share the weights.
 * `halved`: the energy is on the half grid of this level, and is interpolated before the power.
 * `weights`: NULL when they have been added with another plane. */
WIDE void focusd_gather(const source_t *sources, int count, const uint16_t *const *coarse, int half_rows, int half,
                        float fixed, const uint16_t *energy, int halved, int level, const rule_t *rule,
                        float *const *sums, float *weights)
{
    power_t power;
    power.cap = (uint16_t)(int32_t)LESSER(rule->cap * DETAIL_UNIT, 65535.0f);
    power.per_unit = 1.0f / (rule->square_unit * DETAIL_UNIT * DETAIL_UNIT);
    power.least = rule->floor[level] * rule->floor[level] / rule->square_unit;
    power.half_power = rule->half_power[level];
    float even[PART], odd[PART];
    uint16_t smooth_buffer[PART + 2], *smooth = smooth_buffer + 1, strong_even[PART], strong_odd[PART];
    /* A row at a time: the fewer places sums are read from and written to at once, the faster memory is. */
    for (int y = 0; y < 2 * half_rows; y++)
        for (int first = 0; first < half; first += PART) {
            const int part = LESSER(half - first, PART);
            const int64_t start = (int64_t)y * 2 * half + first;
            if (halved) {
                const int from = first > 0 ? -1 : 0, to = first + part < half ? part + 1 : part;
                const int here = y / 2, beside = y & 1 ? LESSER(here + 1, half_rows - 1) : GREATER(here - 1, 0);
                const uint16_t *near = energy + (int64_t)here * half + first;
                smooth_row(near, near + (int64_t)(beside - here) * half, smooth, from, to);
                if (from == 0) smooth[-1] = smooth[0];
                if (to == part) smooth[part] = smooth[part - 1];
                strengths_between(smooth, strong_even, strong_odd, part, power.cap);
            } else
                strengths_apart(energy + (int64_t)y * 2 * half + 2 * first, strong_even, strong_odd, part, power.cap);
            if (weights) {
                weigh_row(strong_even, even, weights + start, part, power, 1);
                weigh_row(strong_odd, odd, weights + start + half, part, power, 1);
            } else {
                weigh_row(strong_even, even, NULL, part, power, 0);
                weigh_row(strong_odd, odd, NULL, part, power, 0);
            }
            for (int k = 0; k < count; k++)
                if (fixed == FIXED_8)
                    gather_16(&sources[k], coarse[k], y, half_rows, first, part, half, fixed, even, odd,
                              sums[k] + start);
                else
                    gather_float(&sources[k], coarse[k], y, half_rows, first, part, half, fixed, even, odd,
                                 sums[k] + start);
        }
}

/* Add the base times its weight, which is the coarsest energy to the eighth power. */
WIDE void focusd_base(const uint16_t *const *bases, int count, int64_t size, float fixed, const uint16_t *energy,
                      const rule_t *rule, float *const *sums, float *weights)
{
    for (int64_t i = 0; i < size; i++) {
        float weight = 1.0f;
        if (energy) {
            weight = ((float)energy[i] * (1.0f / DETAIL_UNIT) + rule->base_offset) * rule->base_unit;
            weight *= weight;
            weight *= weight;
            weight *= weight;
        }
        if (weights) weights[i] += weight;
        for (int k = 0; k < count; k++) sums[k][i] += weight * ((float)bases[k][i] * (1.0f / fixed));
    }
}

int focusd_kernel_version(void) { return KERNEL_VERSION; }
