/*
 * The sweep of an ended member, by two at once who may be killed at it, while others take the slot
 * and the block: src/shm/fate.c, sweep.c, slot.c, block.c.
 *
 *    here                    there
 *    state, generation       the life word of one slot, life.h; one CAS is one atomic
 *    block_owner, block_gen  the word of one block: 0, or slot and generation (B1, B2)
 *    entry                   a held entry of that slot: it names the block before the word does (B3)
 *    sweeper                 member_fate(): fate_of(), end_finish(), sweep_member(), slot_free()
 *    sweep_block             sweep_block(), block_reap(): reads the word, frees it by CAS
 *    tenant                  member_claim(), record_init(), block_new(): slot, entry, then the word
 *
 * Shown: a block is freed by the sweep if and only if its owner has ended; a slot is free again only
 * when nothing is owned in its last generation; nothing is left once all are done.  Broken on
 * purpose: PLAIN, the word is stored over; EARLY, the slot is free before the sweep; LATE_ENTRY, the
 * entry is written after the word.
 */
#ifndef KILLS
#define KILLS 1
#endif
#define TENANTS  2
#define SWEEPERS 2
#define LAST     5 /* generations */

mtype = { FREE, CLAIMED, LIVE, DIED };

mtype state = FREE;
byte generation = 1;
bool entry = false;
bool block_used = false;
byte block_gen = 0;          /* generation of the owner; one slot is all there is */
bool gone[LAST + 1] = false; /* that generation's process has ended */
bool sweeper_alive[SWEEPERS] = true;
byte kills = KILLS;
byte tenants_done = 0;

/* A process that has the slot in one generation, and is killed at any moment, always in the end. */
proctype tenant() {
    byte mine = 0;

    atomic {
        state == FREE && generation < LAST ->
        state = CLAIMED; mine = generation
    };
    entry = false; /* record_init() */
    state = LIVE;
#ifndef LATE_ENTRY
    entry = true;
#endif
    atomic {
        if
        :: !block_used -> block_used = true; block_gen = mine
        :: else
        fi
    };
#ifdef LATE_ENTRY
    if
    :: true -> goto dies
    :: true
    fi;
    entry = true;
dies:
#endif
    gone[mine] = true;
    tenants_done++
}

inline sweep_block(gen) {
    atomic { seen_used = block_used; seen_gen = block_gen };
    if
    :: seen_used && seen_gen == gen ->
        atomic {
#ifdef PLAIN
            if
            :: true ->
#else
            if
            :: block_used && block_gen == seen_gen ->
#endif
                assert(!block_used || gone[block_gen]);
                block_used = false
#ifndef PLAIN
            :: else
#endif
            fi
        }
    :: else
    fi
}

inline slot_free(gen) {
    atomic {
        if
        :: state == DIED && generation == gen ->
            assert(!block_used || block_gen != gen);
            state = FREE; generation++
        :: else
        fi
    }
}

proctype sweeper(byte me) {
    byte gen, seen_gen;
    mtype life;
    bool seen_used, seen_entry;
    {
        do
        :: atomic { life = state; gen = generation };
           if
           :: life == LIVE && gone[gen] ->
               atomic {
                   if
                   :: state == LIVE && generation == gen -> state = DIED
                   :: else
                   fi
               }
           :: life == DIED ->
#ifdef EARLY
               slot_free(gen);
#endif
               seen_entry = entry;
               if
               :: seen_entry -> sweep_block(gen)
               :: else
               fi;
#ifndef EARLY
               slot_free(gen)
#endif
           :: else
           fi;
           if
           :: tenants_done == TENANTS && state == FREE -> break
           :: else
           fi
        od
    } unless { !sweeper_alive[me] }
}

proctype killer() {
    byte victim;

    do
    :: kills > 0 ->
        atomic {
            select (victim : 0 .. SWEEPERS - 1);
            if /* somebody asks in the end */
            :: sweeper_alive[victim] && sweeper_alive[1 - victim] ->
                sweeper_alive[victim] = false;
                kills--
            :: else -> break
            fi
        }
    :: break
    od
}

active proctype check() {
    tenants_done == TENANTS && state == FREE ->
        assert(!block_used)
}

init {
    byte i;
    atomic {
        for (i : 1 .. TENANTS) { run tenant() };
        run sweeper(0);
        run sweeper(1);
        run killer()
    }
}
