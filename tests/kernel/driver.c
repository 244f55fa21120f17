/* Fuses made-up frames with the loops of kernel.c and prints a hash of every plane they leave.
 *
 * The same lines must come out whatever the machine and the width of its vectors; `.ci/kernel` compares them.
 * Every buffer is just as large as the loops say they need, so that a sanitizer sees one step beyond.
 * The order of the calls is that of focusd/fusion/compiled.py.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../daemon/focusd/fusion/kernel.c"

enum { MOST_LEVELS = 5, MOST_PLANES = 3, SHARP_LEVELS = 3, FRAMES = 3 };
enum kind { GREY, YUV420, BGR };

/* Called by pointers that may change, so that no loop is built anew for the values it is called with. */
static __typeof__(&focusd_split) volatile split = focusd_split;
static __typeof__(&focusd_energy) volatile energy_of_band = focusd_energy;
static __typeof__(&focusd_halve) volatile halve = focusd_halve;
static __typeof__(&focusd_carry_up) volatile carry_up = focusd_carry_up;
static __typeof__(&focusd_carry_down) volatile carry_down = focusd_carry_down;
static __typeof__(&focusd_carry_over) volatile carry_over = focusd_carry_over;
static __typeof__(&focusd_scale) volatile scale = focusd_scale;
static __typeof__(&focusd_gather) volatile gather = focusd_gather;
static __typeof__(&focusd_base) volatile base = focusd_base;

typedef struct {
    const char *name;
    enum kind kind;
    int rows, cols, sample_bytes, bits;
    int gap_bytes; /* between the rows of a frame */
} stack_t;

typedef struct {
    int rows, cols, levels;
    int high[MOST_LEVELS + 1], wide[MOST_LEVELS + 1];
} grid_t;

static void *fresh(size_t bytes, int fill)
{
    void *made = malloc(bytes ? bytes : 1);
    if (!made) abort();
    return memset(made, fill, bytes);
}

static float *scratch_of(int rows, int cols)
{
    return fresh(sizeof(float) * (size_t)rows * (size_t)(cols + 2 * MARGIN), 0xa5);
}

static void print_hash(const char *stack, const char *plane, int number, int level, const void *data, size_t bytes)
{
    /* Sums that are not finite would be alike everywhere and prove nothing. */
    if (strcmp(plane, "weight") == 0 || strcmp(plane, "band") == 0)
        for (size_t i = 0; i < bytes / sizeof(float); i++) {
            const float value = ((const float *)data)[i];
            if (!(value - value == 0.0f)) {
                fprintf(stderr, "%s %s-%d-%d holds %g\n", stack, plane, number, level, (double)value);
                exit(1);
            }
        }
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < bytes; i++) hash = (hash ^ ((const uint8_t *)data)[i]) * 1099511628211u;
    printf("%s %s-%d-%d %016llx\n", stack, plane, number, level, (unsigned long long)hash);
}

static grid_t grid_of(int rows, int cols, int levels)
{
    grid_t grid = {rows, cols, levels, {0}, {0}};
    const int size = 1 << levels;
    for (int level = 0; level <= levels; level++) {
        grid.high[level] = (rows + size - 1) / size * size >> level;
        grid.wide[level] = (cols + size - 1) / size * size >> level;
    }
    return grid;
}

static size_t area(const grid_t *grid, int level) { return (size_t)grid->high[level] * (size_t)grid->wide[level]; }

/* Noise, nearly flat ground, black and white, slopes: what makes weights tiny, huge and equal. */
static uint32_t sample(const stack_t *stack, int frame, int plane, int y, int x)
{
    uint32_t mixed = (uint32_t)(y * 7919 + x * 104729 + plane * 1299709 + frame * 15485863 + 1);
    for (int i = 0; i < 3; i++) mixed ^= mixed << 13, mixed ^= mixed >> 17, mixed ^= mixed << 5;
    const uint32_t most = (1u << stack->bits) - 1;
    switch ((x / 16 + y / 16 + frame) % 4) {
    case 0: return mixed % (most + 1);
    case 1: return most / 2 + mixed % 4;
    case 2: return (x / 3 + y / 2) % 2 ? most : 0;
    default: return (uint32_t)(x * 5 + y * 3) % (most + 1);
    }
}

static void *frame_of(const stack_t *stack, int frame, int plane, int rows, int cols, int channels, int64_t *stride)
{
    *stride = (int64_t)cols * channels * stack->sample_bytes + stack->gap_bytes;
    /* Nothing lies after the last row. */
    char *data = fresh((size_t)(*stride * rows - stack->gap_bytes), 0xff);
    for (int y = 0; y < rows; y++)
        for (int x = 0; x < cols * channels; x++) {
            const uint32_t value = sample(stack, frame, plane, y, x);
            if (stack->sample_bytes == 1)
                ((uint8_t *)(data + y * *stride))[x] = (uint8_t)value;
            else
                ((uint16_t *)(data + y * *stride))[x] = (uint16_t)value;
        }
    return data;
}

static source_t plane_source(const uint16_t *data, int rows, int cols, float weight)
{
    source_t source = {data, (int64_t)cols * 2, rows, cols, 2, 1, {weight, 0.0f, 0.0f}, 0.0f};
    return source;
}

static rule_t rule_of(float fixed)
{
    /* focusd/fusion/rule.py with sigma 2. */
    rule_t rule = {fixed, 0.3f, 0.08f, 2.0f, 0.5f, 100.0f, 90.0f, {6.024f, 1.472f, 0.7f, 0.7f, 0.7f},
                   {12, 12, 10, 7, 5}, 0.3f, 0.0625f};
    return rule;
}

/* Its windows; the finest level's energy is on the half grid, the others' on their own. */
static const window_t windows[MOST_LEVELS] = {
    {{0.78698605f, 0.10650697f, 0.0f}, 2, 0, 0, 1.506f, 0.2443559f},
    {{0.8552f, 0.0724f, 0.0f}, 4, 1, 1, 0.368f, 0.2443559f},
    {{0.8552f, 0.0724f, 0.0f}, 4, 0, 2, 0.368f, 0.2443559f},
    {{0.3333333f, 0.2222222f, 0.1111111f}, 4, 0, 2, 0.368f, 0.2443559f},
    {{0.3333333f, 0.2222222f, 0.1111111f}, 4, 0, 2, 0.368f, 0.2443559f},
};

static int grid_level(int level) { return level ? level : 1; }

static void fuse(const stack_t *stack)
{
    const int planes = stack->kind == GREY ? 1 : 3, step = stack->kind == YUV420 ? 1 : 0;
    const int channels = stack->kind == BGR ? 3 : 1;
    const float unit = (float)((1 << stack->bits) - 1) / 255.0f; /* of a frame, in one 8-bit level */
    const float headroom = (float)(stack->bits < 14 ? 1 << (14 - stack->bits) : 1);
    const float fixed = stack->sample_bytes == 1 ? 256.0f : unit * headroom;
    const float weights_bgr[3][3] = {
        {0.114f, 0.587f, 0.299f}, {0.443f, -0.2935f, -0.1495f}, {-0.057f, -0.2935f, 0.3505f}};
    const rule_t rule = rule_of(fixed);
    int levels = 0;
    const int side = stack->rows < stack->cols ? stack->rows : stack->cols;
    while (levels < MOST_LEVELS && side >> (levels + 1)) levels++;

    grid_t grids[MOST_PLANES];
    uint16_t *blurred[MOST_PLANES][MOST_LEVELS + 1], *energies[MOST_LEVELS];
    uint16_t *evidence[MOST_LEVELS], *sharp[MOST_LEVELS];
    float *bands[MOST_PLANES][MOST_LEVELS + 1], *weights[MOST_LEVELS + 1];
    void *low[MOST_LEVELS + 1], *high[MOST_LEVELS + 1];
    for (int k = 0; k < planes; k++) {
        const int shift = k ? step : 0;
        grids[k] = grid_of((stack->rows + shift) >> shift, (stack->cols + shift) >> shift, levels - shift);
        for (int l = 0; l <= grids[k].levels; l++) {
            blurred[k][l] = fresh(2 * area(&grids[k], l), 0xa5);
            bands[k][l] = fresh(sizeof(float) * area(&grids[k], l), 0);
        }
    }
    const grid_t *grid = &grids[0];
    const int block = levels < 1 ? 1 : 2;
    const size_t blocks = area(grid, 0) / (size_t)(block * block), bytes = (size_t)stack->sample_bytes;
    for (int l = 0; l <= levels; l++) {
        weights[l] = fresh(sizeof(float) * area(grid, l), 0);
        low[l] = fresh(bytes * (l ? area(grid, l) : blocks), 0xff);
        high[l] = fresh(bytes * (l ? area(grid, l) : blocks), 0);
    }
    for (int l = 0; l < levels; l++) {
        energies[l] = fresh(2 * area(grid, grid_level(l)), 0xa5);
        evidence[l] = fresh(2 * area(grid, grid_level(l)), 0xa5);
        sharp[l] = fresh(2 * area(grid, grid_level(l)), 0xa5);
    }

    for (int frame = 0; frame < FRAMES; frame++) {
        source_t sources[MOST_PLANES];
        void *data[MOST_PLANES];
        for (int k = 0; k < planes; k++) {
            source_t *s = &sources[k];
            memset(s, 0, sizeof *s);
            s->rows = grids[k].rows, s->cols = grids[k].cols;
            s->sample_bytes = stack->sample_bytes, s->channels = channels;
            if (channels == 1 || k == 0)
                data[k] = frame_of(stack, frame, k, s->rows, s->cols, channels, &s->stride_bytes);
            if (channels == 3) {
                s->stride_bytes = sources[0].stride_bytes;
                for (int c = 0; c < 3; c++) s->weight[c] = weights_bgr[k][c] / unit;
                s->centre = k ? 32768.0f / fixed : 0.0f;
            } else
                s->weight[0] = 1.0f / unit;
            s->data = data[channels == 3 ? 0 : k];
        }
        for (int k = 0; k < planes; k++) {
            source_t from = sources[k];
            for (int l = 0; l < grids[k].levels; l++) {
                const int half_rows = grids[k].high[l + 1], half = grids[k].wide[l + 1];
                range_t range = {low[l + 1], high[l + 1], l ? NULL : low[0], l ? NULL : high[0],
                                 block, stack->sample_bytes};
                float *scratch = scratch_of(29, half);
                split(&from, half_rows, half, fixed, blurred[k][l + 1], k ? NULL : energies[l], l == 0,
                      k ? NULL : &range, scratch);
                free(scratch);
                from = plane_source(blurred[k][l + 1], half_rows, half, 1.0f / fixed);
            }
        }

        for (int l = 0; l < levels; l++) {
            const int g = grid_level(l), rows = grid->high[g], cols = grid->wide[g];
            const uint16_t *seen = l == 1 ? sharp[0] : l ? evidence[l - 1] : NULL;
            if (l == 1) memcpy(evidence[1], seen, 2 * area(grid, g)); /* on the same grid */
            if (l > 1) halve(seen, rows, cols, evidence[l]);
            /* The second level's goes to the first's, on the same grid. */
            uint16_t *kept = l >= SHARP_LEVELS ? NULL : l == 1 ? sharp[0] : sharp[l];
            float *scratch = scratch_of(11, cols);
            energy_of_band(energies[l], l ? evidence[l] : NULL, kept, l == 1, rows, cols, &windows[l], &rule, scratch);
            free(scratch);
            if (l == 1) carry_over(energies[0], (int64_t)area(grid, g), rule.from_finer, energies[1]);
            if (l < 2) continue;
            const source_t finer = plane_source(energies[l - 1], 2 * rows, 2 * cols, 1.0f);
            scratch = scratch_of(15, cols);
            carry_up(&finer, rows, cols, rule.from_finer, energies[l], scratch);
            free(scratch);
        }
        for (int l = levels - 2; l >= 0; l--) {
            const int g = grid_level(l + 1), rows = grid->high[g], cols = grid->wide[g];
            float *scratch = scratch_of(1, cols);
            if (l == 0)
                carry_over(energies[1], (int64_t)area(grid, g), rule.from_coarser, energies[0]);
            else
                carry_down(energies[l + 1], rows, cols, rule.from_coarser, energies[l], scratch);
            if (l == 1 && SHARP_LEVELS > 2) carry_down(sharp[2], rows, cols, 1.0f, sharp[0], scratch);
            free(scratch);
        }
        for (int l = 0; l < levels; l++)
            scale(energies[l], (int64_t)area(grid, grid_level(l)), 1.0f + 0.1f * (float)(frame - 1));

        uint16_t *coarsest = fresh(2 * area(grid, levels), 0);
        if (levels > 1) {
            const int rows = grid->high[levels], cols = grid->wide[levels];
            const source_t finer = plane_source(energies[levels - 1], 2 * rows, 2 * cols, 1.0f);
            float *scratch = scratch_of(15, cols);
            carry_up(&finer, rows, cols, 1.0f, coarsest, scratch);
            free(scratch);
        } else if (levels == 1)
            memcpy(coarsest, energies[0], 2 * area(grid, 1));

        /* Planes of one size share their weights: all of them, or luma alone and then both differences. */
        for (int first = 0, last; first < planes; first = last) {
            last = first == 0 && step ? 1 : planes;
            const int count = last - first, shift = first ? step : 0;
            const grid_t *own = &grids[first];
            source_t from[MOST_PLANES];
            const uint16_t *coarse[MOST_PLANES];
            float *sums[MOST_PLANES];
            for (int k = 0; k < count; k++) from[k] = sources[first + k];
            for (int l = 0; l < own->levels; l++) {
                for (int k = 0; k < count; k++) {
                    coarse[k] = blurred[first + k][l + 1];
                    sums[k] = bands[first + k][l];
                }
                gather(from, count, coarse, own->high[l + 1], own->wide[l + 1], fixed, energies[l + shift],
                       l + shift == 0, l + shift, &rule, sums, first ? NULL : weights[l]);
                for (int k = 0; k < count; k++)
                    from[k] = plane_source(coarse[k], own->high[l + 1], own->wide[l + 1], 1.0f / fixed);
            }
            for (int k = 0; k < count; k++) {
                if (own->levels == 0) /* too small for bands: the samples are the base */
                    for (size_t i = 0; i < area(own, 0); i++)
                        blurred[first + k][0][i] = (uint16_t)(i * 9973 + (size_t)k);
                coarse[k] = blurred[first + k][own->levels], sums[k] = bands[first + k][own->levels];
            }
            base(coarse, count, (int64_t)area(own, own->levels), fixed, levels ? coarsest : NULL, &rule, sums,
                 first ? NULL : weights[levels]);
        }
        free(coarsest);
        for (int k = 0; k < (channels == 3 ? 1 : planes); k++) free(data[k]);
    }

    for (int l = 0; l <= levels; l++) {
        print_hash(stack->name, "weight", 0, l, weights[l], sizeof(float) * area(grid, l));
        print_hash(stack->name, "low", 0, l, low[l], bytes * (l ? area(grid, l) : blocks));
        print_hash(stack->name, "high", 0, l, high[l], bytes * (l ? area(grid, l) : blocks));
        free(weights[l]), free(low[l]), free(high[l]);
    }
    for (int l = 0; l < levels; l++) {
        print_hash(stack->name, "energy", 0, l, energies[l], 2 * area(grid, grid_level(l)));
        print_hash(stack->name, "sharp", 0, l, sharp[l], 2 * area(grid, grid_level(l)));
        free(energies[l]), free(evidence[l]), free(sharp[l]);
    }
    for (int k = 0; k < planes; k++)
        for (int l = 0; l <= grids[k].levels; l++) {
            print_hash(stack->name, "band", k, l, bands[k][l], sizeof(float) * area(&grids[k], l));
            free(bands[k][l]), free(blurred[k][l]);
        }
}

int main(void)
{
    static const stack_t stacks[] = {
        {"420-2x2", YUV420, 2, 2, 1, 8, 0},           {"420-3x5", YUV420, 3, 5, 1, 8, 0},
        {"420-4x33", YUV420, 4, 33, 1, 8, 0},         {"420-37x51", YUV420, 37, 51, 1, 8, 0},
        {"420-480x640", YUV420, 480, 640, 1, 8, 0},   {"420-203x517-gap", YUV420, 203, 517, 1, 8, 13},
        {"grey8-1x9", GREY, 1, 9, 1, 8, 0},           {"grey8-2x3", GREY, 2, 3, 1, 8, 0},
        {"grey8-65x127", GREY, 65, 127, 1, 8, 0},     {"grey10-70x90", GREY, 70, 90, 2, 10, 0},
        {"grey12-9x300", GREY, 9, 300, 2, 12, 0},     {"grey16-321x259", GREY, 321, 259, 2, 16, 6},
        {"bgr8-2x2", BGR, 2, 2, 1, 8, 0},             {"bgr8-31x77", BGR, 31, 77, 1, 8, 0},
        {"bgr8-240x321", BGR, 240, 321, 1, 8, 5},     {"bgr16-64x64", BGR, 64, 64, 2, 16, 0},
        {"bgr16-131x270", BGR, 131, 270, 2, 16, 0},   {"bgr12-300x17", BGR, 300, 17, 2, 12, 0},
    };
    for (size_t i = 0; i < sizeof stacks / sizeof *stacks; i++) fuse(&stacks[i]);
    return 0;
}
