#include "machine.h"

#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Where a line goes there and back in more than this, the cores share no near cache. */
static const double far_ns = 250;

/* x86 has "model name"; aarch64 has numbers only, which is better than nothing. */
static void cpu_name(char *ret, size_t room)
{
    static const char *const keys[] = {"model name", "CPU part"};
    FILE *file = fopen("/proc/cpuinfo", "re");
    char text[256];

    snprintf(ret, room, "unknown CPU");
    while (file && fgets(text, sizeof(text), file))
        for (int i = 0; i < 2; i++) {
            char *colon = strchr(text, ':');

            if (!colon || strncmp(text, keys[i], strlen(keys[i])) != 0)
                continue;
            colon[strcspn(colon, "\n")] = '\0';
            snprintf(ret, room, "%s%s", i ? "CPU part" : "", colon + (i ? 0 : 2));
            fclose(file);
            return;
        }
    if (file)
        fclose(file);
}

void machine_look(struct machine *m)
{
    struct utsname name;
    cpu_set_t set;

    cpu_name(m->cpu, sizeof(m->cpu));
    uname(&name);
    snprintf(m->kernel, sizeof(m->kernel), "%.20s %.64s", name.sysname, name.release);
    m->cpus = sched_getaffinity(0, sizeof(set), &set) == 0
                  ? (unsigned)CPU_COUNT(&set)
                  : (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    m->memory = (unsigned long)sysconf(_SC_PHYS_PAGES) / 1024 *
                (unsigned long)sysconf(_SC_PAGESIZE) / 1024;
    m->pp_first = m->pp_last = NAN;
}

void machine_print(const struct machine *m, FILE *out)
{
    fprintf(out, "%s, %u CPUs, %lu MB, %s\n", m->cpu, m->cpus, m->memory, m->kernel);
}

void machine_print_pp(const struct machine *m, FILE *out)
{
    if (isnan(m->pp_first)) {
        fprintf(out, "one CPU: rows between two cores are absent\n");
        return;
    }
    fprintf(out, "cores are %s: a cache line goes there and back in %.0f ns",
            m->pp_first > far_ns ? "far" : "near", m->pp_first);
    if (!isnan(m->pp_last))
        fprintf(out, "; %.0f ns at the end", m->pp_last);
    fputc('\n', out);
}

void machine_json(const struct machine *m, char *ret, size_t room)
{
    char cpu[sizeof(m->cpu)];
    size_t n = 0;

    for (const char *p = m->cpu; *p; p++)
        if (*p != '"' && *p != '\\' && (unsigned char)*p >= ' ')
            cpu[n++] = *p;
    cpu[n] = '\0';
    snprintf(ret, room,
             "{\"cpu\": \"%s\", \"cpus\": %u, \"memory_mb\": %lu, \"kernel\": \"%s\", "
             "\"pp_ns\": [%.1f, %.1f]}",
             cpu, m->cpus, m->memory, m->kernel, isnan(m->pp_first) ? 0 : m->pp_first,
             isnan(m->pp_last) ? 0 : m->pp_last);
}
