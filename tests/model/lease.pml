/*
 * Claims of a pool's chunks, and what becomes of a dead worker's: src/task/claim.c, bury.c, job.c.
 *
 *    here                    there
 *    state                   a chunk's word, named as in job.h (CHUNK_FRESH ...)   chunk_start()
 *    next, end               a worker's share, range: one CAS   share_pop(), share_steal()
 *    held                    the chunk that a worker has popped and not begun   find_held()
 *    rescan                  look at all states   find_open(), job_look_at_all()
 *    noted, noted_by         a resume note: attempts, and the worker that died of it
 *    bury                    pool_bury(), chunk_bury(): the note, then the state
 *    nursery, heir           who buries, and who does it again when that one dies: pool_revive()
 *
 * Shown: each chunk ends, once; it is run once more than its deaths at most, and never oftener than
 * its retries allow; no worker sleeps while one is open.  Broken on purpose: NO_RESCAN, what a
 * death brings back is not looked for; STATE_FIRST, the state moves before the note is there; NO_CAS,
 * a chunk is begun by a store.
 */
#ifndef KILLS
#define KILLS 1
#endif
#define CHUNKS  2
#define PLACES  2
#define RETRIES 1
#define FRESH   0
#define AGAIN   1
#define DONE    2
#define LOST    3
#define STARTED 10

byte state[CHUNKS] = FRESH;
byte next[PLACES], end[PLACES];
byte held[PLACES] = CHUNKS;
bool rescan = false;
byte noted[CHUNKS] = 0, noted_by[CHUNKS] = 0;

byte id[PLACES], last_id = 2; /* of the worker; rises */
bool runs[PLACES] = false;
bool nursery_lives = true;

/* What happened, for the check alone. */
byte begun[CHUNKS] = 0, ended[CHUNKS] = 0;

#define IS_OPEN(c)  (state[c] == FRESH || state[c] == AGAIN)
#define IS_ENDED(c) (state[c] == DONE || state[c] == LOST)
#define ALL_ENDED   (IS_ENDED(0) && IS_ENDED(1))
#define HELD_OPEN(p) (held[p] < CHUNKS && IS_OPEN(held[p]))
#define ANY_OPEN    (IS_OPEN(0) || IS_OPEN(1))

#ifdef NO_CAS
#define START                                                                   \
    got = IS_OPEN(c);                                                           \
    if                                                                          \
    :: got -> atomic { state[c] = STARTED + me; begun[c]++ }                    \
    :: else                                                                     \
    fi
#else
#define START                                                                   \
    atomic {                                                                    \
        got = IS_OPEN(c);                                                       \
        if                                                                      \
        :: got -> state[c] = STARTED + me; begun[c]++                           \
        :: else                                                                 \
        fi                                                                      \
    }
#endif
#define BEGIN                                                                   \
    START;                                                                      \
    atomic {                                                                    \
        if                                                                      \
        :: got -> state[c] = DONE; ended[c]++                                   \
        :: else                                                                 \
        fi;                                                                     \
        c = CHUNKS;                                                             \
        got = false                                                             \
    }

/* What a CAS finds changed is looked at again: so a look and its CAS are one step. */
proctype worker(byte me; byte mine) {
    byte c = CHUNKS, middle, e;
    bool got;
    {
        do
        :: atomic { ALL_ENDED -> break }
        :: atomic { next[me] < end[me] -> c = next[me]; next[me]++ }; /* share_pop() */
           held[me] = c;
           BEGIN
        :: atomic { /* share_steal() */
               next[me] >= end[me] && next[1 - me] < end[1 - me] ->
               e = end[1 - me];
               middle = next[1 - me] + (e - next[1 - me]) / 2;
               end[1 - me] = middle
           };
           atomic { next[me] = middle; end[me] = e; middle = 0; e = 0 }
        :: atomic { /* find_held(), find_open() */
               next[0] >= end[0] && next[1] >= end[1] &&
               (HELD_OPEN(0) || HELD_OPEN(1) || (rescan && ANY_OPEN)) ->
               if
               :: HELD_OPEN(0) -> c = held[0]
               :: HELD_OPEN(1) -> c = held[1]
               :: rescan && IS_OPEN(0) -> c = 0
               :: rescan && IS_OPEN(1) -> c = 1
               fi
           };
           BEGIN
        od
    } unless { id[me] != mine || !runs[me] }
}

/* Of the worker that was at this place, which is dead. */
#ifdef STATE_FIRST
#define NOTE_AND_MOVE(place, c)                                                 \
    state[c] = AGAIN;                                                           \
    atomic { noted[c]++; noted_by[c] = id[place] }
#else
#define NOTE_AND_MOVE(place, c)                                                 \
    atomic { noted[c]++; noted_by[c] = id[place] };                             \
    state[c] = AGAIN
#endif
#define BURY_CHUNK(place, c)                                                    \
    if                                                                          \
    :: state[c] == STARTED + place && noted_by[c] == id[place] -> state[c] = AGAIN \
    :: state[c] == STARTED + place && noted_by[c] != id[place] &&               \
       noted[c] < RETRIES ->                                                    \
        NOTE_AND_MOVE(place, c)                                                 \
    :: atomic {                                                                 \
           state[c] == STARTED + place && noted_by[c] != id[place] &&           \
           noted[c] >= RETRIES -> state[c] = LOST; ended[c]++                   \
       }                                                                        \
    :: state[c] != STARTED + place                                              \
    fi
#ifdef NO_RESCAN
#define RESCAN skip
#else
#define RESCAN rescan = true
#endif
#define BURY(place)                                                             \
    BURY_CHUNK(place, 0);                                                       \
    BURY_CHUNK(place, 1);                                                       \
    RESCAN

inline start(place) {
    atomic { last_id++; id[place] = last_id; runs[place] = true; run worker(place, last_id) }
}

proctype nursery() {
    {
        do
        :: ALL_ENDED -> break
        :: !ALL_ENDED && !runs[0] -> BURY(0); start(0)
        :: !ALL_ENDED && !runs[1] -> BURY(1); start(1)
        od
    } unless { !nursery_lives }
}

/* The user's process: the workers of a dead nursery die with it. */
proctype heir() {
    byte c;

    if
    :: !nursery_lives ->
        atomic { runs[0] = false; runs[1] = false };
        BURY(0);
        start(0);
        BURY(1)
#if KILLS < 2
        ; start(1) /* with two kills one worker does the rest: else too many states */
#endif
        ; ALL_ENDED
    :: ALL_ENDED && nursery_lives
    fi;
    atomic {
        for (c : 0 .. CHUNKS - 1) {
            assert(ended[c] == 1);
            assert(begun[c] <= 1 + RETRIES)
        }
    }
}

/* With two: a worker, and then the nursery that may be burying it. */
proctype killer() {
#if KILLS == 1
    if
    :: runs[0] = false
    :: runs[1] = false
    :: nursery_lives = false
    :: skip
    fi
#endif
#if KILLS == 2
    runs[0] = false;
    nursery_lives = false
#endif
}

init {
    atomic {
        next[0] = 0; end[0] = 2;
        next[1] = 2; end[1] = 2;
        id[0] = 1; id[1] = 2; runs[0] = true; runs[1] = true;
        run worker(0, 1);
        run worker(1, 2);
        run nursery();
        run heir();
        run killer()
    }
}
