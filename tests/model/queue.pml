/*
 * Messages in blocks of their own, through one queue: src/flow/put.c, get.c, take.c, queue.c.
 *
 *    here                    there
 *    put_lock, get_lock      put.lock, get.lock: owner words, entered by owner_enter()
 *    tail, head, entry       a chunk's; here one chunk is enough
 *    pending, before_put     put.message, put.before         put_block(), repair_message()
 *    taking, before_get      get.taking, get.before          entry_take(), get_repair()
 *    returned, returning     get.returned, get.returning     message_return(), message_push()
 *    owner, taken            a block's word, and its purpose TAKEN or SCRATCH
 *    TAKE_OVER, PASS_ON      block_take() and block_settle(), word_pass_on(): one CAS
 *    sweep                   sweep_block(): held_received(), taken_orphan(), block_reap()
 *
 * Members 1 and 2 put, 3 gets, 4 gets and outlives them.  Shown: what was committed is received
 * once, by somebody who did not die before he had dropped it; what was not is nobody's; no block
 * is left.  Broken on purpose: COMMIT_FIRST, tail moves before the entry is there; NO_PENDING, the
 * put is not written down; NO_TAKING, the get is not; NO_RETURN, the sweep frees what was taken.
 */
#ifndef KILLS
#define KILLS 1
#endif
#define MESSAGES (3 - KILLS) /* two, or with two kills one */
#define FAMILY   9
#define FROM_RETURNED 7

byte put_lock = 0, get_lock = 0;
byte tail = 0, head = 0, entry[3] = 0;
byte pending = 0, before_put = 0;
byte taking = 0, before_get = 0, returning = 0;
bool returned[3] = false;
byte owner[3] = 0;
bool taken[3] = false;

bool alive[5] = true;
bool put_over[3] = false, getter_over = false;
byte kills = KILLS;

/* What happened, for the check alone. */
bool committed[3] = false;
byte received[3] = 0;

#define TAKE_OVER(m, to, is_taken)                                              \
    atomic {                                                                    \
        if                                                                      \
        :: owner[m] == FAMILY || (owner[m] != 0 && !alive[owner[m]]) ->         \
            owner[m] = to; taken[m] = is_taken; ok = true                       \
        :: else -> ok = false                                                   \
        fi                                                                      \
    }
#define SETTLE(m) TAKE_OVER(m, FAMILY, false)

#define ENTER(lock)                                                             \
    do                                                                          \
    :: atomic { lock == 0 -> lock = me; died = false; break }                   \
    :: atomic { lock != 0 && !alive[lock] -> lock = me; died = true; break }    \
    od

#define PUSH(m) returned[m] = true

#define REPAIR_PUT                                                              \
    if                                                                          \
    :: died && pending ->                                                       \
        if                                                                      \
        :: tail == before_put ->                                                \
            TAKE_OVER(pending, me, false);                                      \
            n = pending;                                                        \
            pending = 0;                                                        \
            if                                                                  \
            :: ok -> owner[n] = 0                                               \
            :: else                                                             \
            fi                                                                  \
        :: else -> pending = 0                                                  \
        fi                                                                      \
    :: else                                                                     \
    fi

#define REPAIR_GET                                                              \
    if                                                                          \
    :: died && returning ->                                                     \
        if                                                                      \
        :: returned[returning] -> SETTLE(returning)                             \
        :: else                                                                 \
        fi;                                                                     \
        taking = 0; returning = 0                                               \
    :: died && !returning && taking ->                                          \
        if                                                                      \
        :: (before_get == FROM_RETURNED && !returned[taking]) ||                \
           (before_get != FROM_RETURNED && head != before_get) ->               \
            PUSH(taking);                                                       \
            SETTLE(taking)                                                      \
        :: else -> SETTLE(taking)                                               \
        fi;                                                                     \
        taking = 0                                                              \
    :: else                                                                     \
    fi

#define ENTER_PUT ENTER(put_lock); REPAIR_PUT
#define ENTER_GET ENTER(get_lock); REPAIR_GET

proctype putter(byte me) {
    byte n;
    bool died, ok;
    {
        owner[me] = me; /* message `me`, in a block of that number */
        ENTER_PUT;
        before_put = tail;
#ifndef NO_PENDING
        pending = me;
#endif
#ifdef NO_PENDING
        skip;
#else
        owner[me] = FAMILY;
#endif
#ifdef COMMIT_FIRST
        atomic { tail++; committed[me] = true };
        entry[tail - 1] = me;
#else
        entry[tail] = me;
        atomic { tail++; committed[me] = true };
#endif
#ifdef NO_PENDING
        owner[me] = FAMILY;
#endif
        pending = 0;
        put_lock = 0
    } unless { !alive[me] };
    put_over[me] = true
}

/* Of the members that ended; may be cut off, and done by two. */
#define SWEEP                                                                   \
    for (m : 1 .. MESSAGES) {                                                   \
        atomic { seen = owner[m]; was_taken = taken[m] };                       \
        if                                                                      \
        :: seen != 0 && seen != FAMILY && !alive[seen] ->                       \
            if                                                                  \
            :: (!was_taken && pending == m) || (was_taken && taking == m) ->    \
                PASS_ON(m, FAMILY)                                              \
            :: !was_taken && pending != m -> PASS_ON(m, 0)                      \
            :: was_taken && taking != m -> RETURN                               \
            fi                                                                  \
        :: else                                                                 \
        fi                                                                      \
    }
#define PASS_ON(m, to)                                                          \
    atomic {                                                                    \
        if                                                                      \
        :: owner[m] == seen && taken[m] == was_taken -> owner[m] = to; taken[m] = false \
        :: else                                                                 \
        fi                                                                      \
    }
#ifdef NO_RETURN
#define RETURN PASS_ON(m, 0)
#else
#define RETURN                                                                  \
    ENTER_PUT;                                                                  \
    ENTER_GET;                                                                  \
    if                                                                          \
    :: owner[m] == seen && taken[m] ->                                          \
        returning = m;                                                          \
        PUSH(m);                                                                \
        SETTLE(m);                                                              \
        returning = 0                                                           \
    :: else                                                                     \
    fi;                                                                         \
    get_lock = 0;                                                               \
    put_lock = 0
#endif

#define FIND                                                                    \
    if                                                                          \
    :: returned[1] -> got = 1; before_get = FROM_RETURNED                       \
    :: returned[2] -> got = 2; before_get = FROM_RETURNED                       \
    :: !returned[1] && !returned[2] && head < tail ->                           \
        got = entry[head]; before_get = head;                                   \
        assert(got != 0)                                                        \
    :: else -> got = 0                                                          \
    fi

#ifdef NO_TAKING
#define TAKING(m) skip
#else
#define TAKING(m) taking = m
#endif

#define GET                                                                     \
    ENTER_GET;                                                                  \
    FIND;                                                                       \
    if                                                                          \
    :: got != 0 ->                                                              \
        TAKING(got);                                                            \
        TAKE_OVER(got, me, true);                                               \
        assert(ok);                                                             \
        if                                                                      \
        :: before_get == FROM_RETURNED -> returned[got] = false                 \
        :: else -> head++                                                       \
        fi;                                                                     \
        taking = 0;                                                             \
        get_lock = 0;                                                           \
        atomic { owner[got] = 0; taken[got] = false; received[got]++ } /* drop */ \
    :: else -> get_lock = 0                                                     \
    fi

proctype getter() {
    byte me = 3, m, n, got, seen;
    bool died, ok, was_taken;
    {
        GET;
        SWEEP
    } unless { !alive[3] };
    getter_over = true
}

proctype survivor() {
    byte me = 4, m, n, got, seen, round;
    bool died, ok, was_taken;

    /* while all live, 3 gets and there is nothing to sweep */
    do
    :: put_over[1] && (put_over[2] || MESSAGES == 1) && getter_over -> break
    :: !alive[1] || !alive[2] || !alive[3] ->
       GET;
       SWEEP;
       atomic { m = 0; n = 0; got = 0; seen = 0; was_taken = false; died = false; ok = false }
    od;
    /* everybody else is gone: what was pending is answered for by who enters next */
    ENTER_PUT;
    put_lock = 0;
    /* once round for each message, and once more */
    for (round : 0 .. MESSAGES) {
        SWEEP;
        GET
    };
    for (m : 1 .. MESSAGES) {
        assert(received[m] == committed[m]);
        assert(owner[m] == 0 && !returned[m])
    }
}

proctype killer() {
    byte victim;

    do
    :: kills > 0 ->
        atomic {
            select (victim : 1 .. 3);
            if
            :: alive[victim] && (victim != 2 || MESSAGES == 2) -> alive[victim] = false; kills--
            :: else
            fi
        }
    :: break
    od
}

init {
    atomic {
        run putter(1);
        if
        :: MESSAGES == 2 -> run putter(2)
        :: else
        fi;
        run getter();
        run survivor();
        run killer()
    }
}
