/*
 * The owner word under kills: src/shm/owner.c, owner.h.
 *
 *    here                  there
 *    owner, waiters        the word: 0, OWNER_NEWS or an id; ID_WAITERS.  One CAS is one atomic
 *    TRY                   owner_try()
 *    acquire               owner_wait(): wait_slice(), try_after_sleep(), take_from_dead()
 *    SLEEP                 sleep_on(): compares and sleeps as one; a slice ends when nothing
 *                          else can happen (`timeout`)
 *    release               owner_release(), release_to(): the store, then the wake
 *    helper                owner_release_any() of one who finds the owner dead
 *    alive[]               member_seems_alive(), member_fate()
 *
 * Shown: one live member is inside at a time; who comes in after a death inside is told; nobody
 * sleeps for ever.  Broken on purpose: UNTIMED, a sleep ends by a wake alone; SILENT, a release for a
 * dead one forgets the news; NO_CAS, the dead one's word is stored over.
 */
#ifndef KILLS
#define KILLS 1
#endif
#define MEMBERS 3
#define NEWS    9

byte owner = 0;
bool waiters = false;
bool alive[MEMBERS + 1] = true;
bool asleep[MEMBERS + 1] = false;
byte inside = 0;     /* live members in the section */
bool dirty = false;  /* somebody was inside and did not come out */
byte kills = KILLS;

inline WAKE_ONE() {
    atomic {
        if
        :: asleep[1] -> asleep[1] = false
        :: asleep[2] -> asleep[2] = false
        :: asleep[3] -> asleep[3] = false
        :: else
        fi
    }
}

proctype member(byte me) {
    byte old_owner;
    bool old_waiters, news, moved;
    {
        skip;
try:
        atomic {
            news = false;
            if
            :: owner == 0 && !waiters -> owner = me; goto got
            :: owner == NEWS -> owner = me; waiters = false; news = true; goto got
            :: else
            fi
        }
slice:
        atomic { old_owner = owner; old_waiters = waiters }
        if
        :: old_owner == 0 || old_owner == NEWS ->
            atomic {
                if
                :: owner == old_owner && waiters == old_waiters ->
                    news = (owner == NEWS); owner = me; waiters = true; goto got
                :: else -> goto slice
                fi
            }
        :: else
        fi;
        if
        :: !old_waiters ->
            atomic {
                if
                :: owner == old_owner && !waiters -> waiters = true; old_waiters = true
                :: else -> goto slice
                fi
            }
        :: else
        fi;
        if
        :: !alive[old_owner] ->
            atomic {
                if
#ifdef NO_CAS
                :: true ->
#else
                :: owner == old_owner && waiters == old_waiters ->
#endif
                    owner = me; waiters = true; news = true; goto got
#ifndef NO_CAS
                :: else -> goto slice
#endif
                fi
            }
        :: else
        fi;
        atomic {
            if
            :: owner == old_owner && waiters == old_waiters -> asleep[me] = true
            :: else -> goto slice
            fi
        };
        if
        :: !asleep[me]
#ifndef UNTIMED
        :: timeout -> asleep[me] = false
#endif
        fi;
        goto slice;

got:
        atomic {
            inside++;
            assert(inside == 1);
            assert(news || !dirty);
            dirty = true
        };
        atomic { dirty = false; inside-- };

release:
        atomic { old_owner = owner; old_waiters = waiters };
        atomic {
            moved = (owner == me && waiters == old_waiters);
            if
            :: moved -> owner = 0; waiters = false
            :: else
            fi
        };
        if
        :: moved && old_waiters -> WAKE_ONE()
        :: moved && !old_waiters
        :: !moved && owner == me -> goto release
        :: !moved && owner != me
        fi
    } unless { !alive[me] };
    asleep[me] = false
}

/* One that releases what a dead one holds: the news stays on the word. */
proctype helper() {
    byte old_owner;
    bool old_waiters;

    atomic { old_owner = owner; old_waiters = waiters };
    if
    :: old_owner != 0 && old_owner != NEWS && !alive[old_owner] ->
        atomic {
            if
            :: owner == old_owner && waiters == old_waiters ->
#ifdef SILENT
                owner = 0;
#else
                owner = NEWS;
#endif
                waiters = false
            :: else -> goto done
            fi
        };
        if
        :: old_waiters -> WAKE_ONE()
        :: else
        fi
    :: else
    fi;
done:
    skip
}

proctype killer() {
    byte victim;

    do
    :: kills > 0 ->
        atomic {
            select (victim : 1 .. MEMBERS);
            if
            :: alive[victim] ->
                alive[victim] = false;
                kills--;
                if
                :: dirty && owner == victim && inside > 0 -> inside--
                :: else
                fi
            :: else
            fi
        }
    :: break
    od
}

init {
    atomic {
        run member(1);
        run member(2);
        run member(3);
#if KILLS < 2
        run helper(); /* with two kills there would be 18 times as many states */
#endif
        run killer()
    }
}
