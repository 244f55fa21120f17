/* For kernel.c: arithmetic on 16 bits, and the rows of a frame or of a level in the numbers that are asked for. */
#define INLINE static inline __attribute__((always_inline))
#define RESTRICT __restrict__

#define LESSER(a, b) ((a) < (b) ? (a) : (b))
#define GREATER(a, b) ((a) > (b) ? (a) : (b))
#define STORE16(value) ((uint16_t)(int32_t)LESSER(GREATER((value) + 0.5f, 0.0f), 65535.0f))

/* Each of these is one instruction on vectors, or two. The mean is in 64 bits because gcc 12 sees through a chain
 * of them in 32, and then misses that they are means. */
INLINE uint16_t mean16(uint16_t a, uint16_t b) { return (uint16_t)(((uint64_t)a + b + 1) >> 1); }
INLINE uint16_t distance16(uint16_t a, uint16_t b) { return (uint16_t)(GREATER(a, b) - LESSER(a, b)); }
INLINE uint16_t share16(uint16_t a, uint16_t share) { return (uint16_t)((uint32_t)a * share >> 16); }

INLINE uint16_t sum16(uint16_t a, uint16_t b)
{
    const uint16_t room = (uint16_t)(65535 - b);
    return (uint16_t)(LESSER(a, room) + b);
}

/* A share, 0 to 1, as share16 takes it. 1 is a little less. */
INLINE uint16_t fraction16(float share)
{
    return (uint16_t)(int32_t)LESSER(GREATER(share, 0.0f) * 65536.0f, 65535.0f);
}

INLINE float mean_float(float a, float b) { return (a + b) * 0.5f; }
INLINE float distance_float(float a, float b) { return a < b ? b - a : a - b; }

/* Where rows come from. Samples are uint8 or uint16, one or three (BGR) a pixel. Padding to the right and
 * below mirrors the image without repeating its edge. */
typedef struct {
    const void *data;
    int64_t stride_bytes;
    int32_t rows, cols;
    int32_t sample_bytes, channels;
    float weight[3]; /* samples to 8-bit levels; of a plane the first alone */
    float centre;    /* added to the sum of three channels */
} source_t;

INLINE int mirror(int i, int n)
{
    if (n == 1) return 0;
    while (i < 0 || i >= n) i = i < 0 ? -i : 2 * (n - 1) - i;
    return i;
}

INLINE const void *row_of(const source_t *s, int y)
{
    return (const char *)s->data + (int64_t)mirror(y, s->rows) * s->stride_bytes;
}

#define BLEND(p, s)                                                                                          \
    (((float)(p)[0] * (s)->weight[0] + (float)(p)[1] * (s)->weight[1]) +                                     \
     ((float)(p)[2] * (s)->weight[2] + (s)->centre))

/* One sample, 8-bit levels. */
INLINE float sample_at(const source_t *s, const void *row, int x)
{
    x = mirror(x, s->cols);
    if (s->sample_bytes == 1) {
        const uint8_t *p = (const uint8_t *)row + s->channels * x;
        return s->channels == 1 ? (float)p[0] * s->weight[0] : BLEND(p, s);
    }
    const uint16_t *p = (const uint16_t *)row + s->channels * x;
    return s->channels == 1 ? (float)p[0] * s->weight[0] : BLEND(p, s);
}

/* Pairs of bytes are read as one number, which is cheaper than taking vectors of bytes apart. */
INLINE uint16_t pair_at(const uint8_t *p)
{
    uint16_t pair;
    memcpy(&pair, p, sizeof pair);
    return pair;
}

/* Pixels of a BGR row, in `unit` to an 8-bit level. */
INLINE void blend_row(const source_t *s, const void *row, int first, int count, float unit, float *RESTRICT out)
{
    if (s->sample_bytes == 1) {
        const uint8_t *p = (const uint8_t *)row + (int64_t)3 * first;
        for (int x = 0; x < count; x++) out[x] = BLEND(p + 3 * x, s) * unit;
    } else {
        const uint16_t *p = (const uint16_t *)row + (int64_t)3 * first;
        for (int x = 0; x < count; x++) out[x] = BLEND(p + 3 * x, s) * unit;
    }
}

INLINE int whole_pairs(const source_t *s, int first, int count)
{
    const int there = s->cols / 2 - first;
    return there < 0 ? 0 : LESSER(there, count);
}

/* Pairs of columns `first` to `first + count` of row `y`, in `unit` to an 8-bit level; `line` holds them all. */
INLINE void load_float(const source_t *s, float unit, int y, int first, int count, float *RESTRICT even,
                       float *RESTRICT odd, float *RESTRICT line)
{
    const void *row = row_of(s, y);
    const int whole = whole_pairs(s, first, count);
    const float k = s->weight[0] * unit;
    if (s->channels == 3) {
        blend_row(s, row, 2 * first, 2 * whole, unit, line);
        for (int x = 0; x < whole; x++) even[x] = line[2 * x], odd[x] = line[2 * x + 1];
    } else if (s->sample_bytes == 1) {
        const uint8_t *p = (const uint8_t *)row + 2 * first;
        for (int x = 0; x < whole; x++) even[x] = (float)p[2 * x] * k, odd[x] = (float)p[2 * x + 1] * k;
    } else {
        const uint16_t *p = (const uint16_t *)row + 2 * first;
        for (int x = 0; x < whole; x++) even[x] = (float)p[2 * x] * k, odd[x] = (float)p[2 * x + 1] * k;
    }
    for (int x = whole; x < count; x++) {
        even[x] = sample_at(s, row, 2 * (first + x)) * unit;
        odd[x] = sample_at(s, row, 2 * (first + x) + 1) * unit;
    }
}

/* The same, rounded; of one channel, the unit must be a whole number of the samples'. */
INLINE void load_16(const source_t *s, float unit, int y, int first, int count, uint16_t *RESTRICT even,
                    uint16_t *RESTRICT odd, float *RESTRICT line)
{
    const void *row = row_of(s, y);
    const int whole = whole_pairs(s, first, count);
    const uint16_t k = STORE16(s->weight[0] * unit);
    if (s->channels == 3) {
        blend_row(s, row, 2 * first, 2 * whole, unit, line);
        for (int x = 0; x < whole; x++) even[x] = STORE16(line[2 * x]), odd[x] = STORE16(line[2 * x + 1]);
    } else if (s->sample_bytes == 1) {
        const uint8_t *p = (const uint8_t *)row + 2 * first;
        for (int x = 0; x < whole; x++) {
            const uint16_t pair = pair_at(p + 2 * x);
            even[x] = (uint16_t)((pair & 255) * k);
            odd[x] = (uint16_t)((pair >> 8) * k);
        }
    } else {
        const uint16_t *p = (const uint16_t *)row + 2 * first;
        for (int x = 0; x < whole; x++) even[x] = (uint16_t)(p[2 * x] * k), odd[x] = (uint16_t)(p[2 * x + 1] * k);
    }
    for (int x = whole; x < count; x++) {
        even[x] = STORE16(sample_at(s, row, 2 * (first + x)) * unit);
        odd[x] = STORE16(sample_at(s, row, 2 * (first + x) + 1) * unit);
    }
}
