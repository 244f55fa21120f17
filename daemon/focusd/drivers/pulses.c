/* The beat of a stepper motor: what drivers/pacer.py does in Python, without Python's lock.
 *
 * Called by ctypes, which lets go of the interpreter's lock meanwhile, so neither fusing nor MQTT delays a step.
 * Every interval counts from the step before as it really came: a late step is never made up for by a hurried
 * one, and after a gap of more than one interval the ramp begins again. Nothing is queued anywhere: when the loop
 * returns, the number of steps made is exact, and the last one is over.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <time.h>

#define PULSES_VERSION 2
#define SECOND_NS 1000000000LL
/* The longest sleep before the emergency stop is looked at again. */
#define SLICE_NS 2000000LL
/* The kernel may round a sleep up by this much; its default is 50 us. */
#define SLACK_NS 1000UL
/* Between two readings of a line that ends a move. */
#define READING_NS 20000LL

enum { DONE = 0, HALTED = 1, REACHED = 2, FAILED = 3 };

/* A line that ends the run while it is at a level. */
typedef struct {
    int32_t line, level;
} Watch;

/* The board's lines, and time. Both may be simulated. */
typedef struct {
    int (*write)(int handle, int line, int level);
    int (*read)(int handle, int line);
    int64_t (*now_ns)(void);
    void (*sleep_until)(int64_t at_ns);
    int32_t handle;
} Board;

typedef struct {
    int32_t step_line;
    int32_t readings; /* times in a row that a watched line must say the same */
    int64_t high_ns, low_ns;
    const int64_t *intervals_ns; /* from rest up to cruise, mirrored before the end */
    int64_t interval_count;
    int64_t steps;
    const volatile int *halt;
    const Watch *watches;
    int32_t watch_count;
    int32_t error; /* what the board answered, below 0 */
    int64_t made;
    int64_t worst_late_ns;
    int32_t reached; /* which of the watches ended the move; -1: none */
} Move;

int focusd_pulses_version(void) { return PULSES_VERSION; }

int64_t focusd_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * SECOND_NS + now.tv_nsec;
}

void focusd_sleep_until(int64_t at_ns) {
    const struct timespec at = {at_ns / SECOND_NS, at_ns % SECOND_NS};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, 0) == EINTR) {
    }
}

/* Whether a watched line has its level; FAILED when it cannot be read. */
static int reached(const Board *board, Move *move) {
    for (int32_t i = 0; i < move->watch_count; i++) {
        const Watch *watch = &move->watches[i];
        int32_t said = 0;
        while (said < move->readings) {
            const int level = board->read(board->handle, watch->line);
            if (level < 0) {
                move->error = level;
                return FAILED;
            }
            if (level != watch->level) break;
            /* A spike of a motor's current is over by then. */
            if (++said < move->readings) board->sleep_until(board->now_ns() + READING_NS);
        }
        if (said == move->readings) {
            move->reached = i;
            return REACHED;
        }
    }
    return DONE;
}

static int put(const Board *board, Move *move, int level) {
    const int answer = board->write(board->handle, move->step_line, level);
    if (answer < 0) move->error = answer;
    return answer;
}

static int64_t interval_ns(const Move *move, int64_t since_rest, int64_t remaining) {
    int64_t k = since_rest < remaining - 1 ? since_rest : remaining - 1;
    if (k > move->interval_count - 1) k = move->interval_count - 1;
    return move->intervals_ns[k];
}

static int run(const Board *board, Move *move) {
    int64_t since_rest = 0, last_ns = board->now_ns();
    for (move->made = 0; move->made < move->steps; move->made++) {
        const int64_t interval = interval_ns(move, since_rest, move->steps - move->made);
        const int64_t due_ns = last_ns + interval;
        for (int64_t now_ns = board->now_ns(); now_ns < due_ns && !*move->halt; now_ns = board->now_ns())
            board->sleep_until(due_ns - now_ns > SLICE_NS ? now_ns + SLICE_NS : due_ns);
        if (*move->halt) return HALTED;
        const int end = reached(board, move);
        if (end) return end;
        const int64_t late_ns = board->now_ns() - due_ns;
        if (move->made && late_ns > move->worst_late_ns) move->worst_late_ns = late_ns;
        since_rest = late_ns > interval ? 0 : since_rest + 1;
        if (put(board, move, 1) < 0) return FAILED;
        /* Once the edge is out: what delays it between here and there shortens neither pulse nor interval. */
        last_ns = board->now_ns();
        board->sleep_until(last_ns + move->high_ns);
        if (put(board, move, 0) < 0) return FAILED;
        board->sleep_until(board->now_ns() + move->low_ns);
    }
    return DONE;
}

/* Make a move. Returns why it ended; move->made says how far it came. */
int focusd_pulses_run(const Board *board, Move *move) {
    const int slack_ns = prctl(PR_GET_TIMERSLACK);
    prctl(PR_SET_TIMERSLACK, SLACK_NS);
    const int end = run(board, move);
    if (slack_ns > 0) prctl(PR_SET_TIMERSLACK, (unsigned long)slack_ns);
    return end;
}
