#include "os/cgroup.h"

#include "os/fd.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

/* A directory of a control group; `top` is the length of its mount point, where we stop. */
struct cgroup {
    int version;
    size_t top;
    char path[PATH_MAX];
};

static const struct cgroup_files own_files = {
    .membership = "/proc/self/cgroup",
    .mounts = "/proc/self/mountinfo",
};

static void file_done(FILE **file)
{
    if (*file)
        fclose(*file);
}

static void text_done(char **text)
{
    free(*text);
}

/* Is `name` one of the words of `list`, which commas separate? */
static bool list_has(const char *list, const char *name)
{
    size_t size = strlen(name);

    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, name, size) == 0 && (at[size] == ',' || at[size] == '\0'))
            return true;
    }
    return false;
}

/*
 * One line of the membership file: "0::/path" (v2) or "4:cpu,cpuacct:/path" (v1).
 * Returns the version if the line is about `controller`, otherwise 0.
 */
static int membership_parse(char *line, const char *controller, const char **ret_path)
{
    char *names = strchr(line, ':');
    char *path = names ? strchr(names + 1, ':') : NULL;

    if (!path)
        return 0;
    *names++ = '\0';
    *path++ = '\0';
    path[strcspn(path, "\n")] = '\0';
    *ret_path = path;
    if (*names == '\0')
        return strcmp(line, "0") == 0 ? 2 : 0;
    return list_has(names, controller) ? 1 : 0;
}

/* A controller sits in one hierarchy only: v1 if there is a line for it, else v2. */
static int membership_find(const char *file, const char *controller, char *ret_path,
                           size_t size)
{
    cleanup(file_done) FILE *lines = fopen(file, "re");
    cleanup(text_done) char *line = NULL;
    size_t room = 0;
    int version = 0;

    while (lines && version != 1 && getline(&line, &room, lines) > 0) {
        const char *path;
        int found = membership_parse(line, controller, &path);

        if (found == 0 || strlen(path) >= size)
            continue;
        version = found;
        strcpy(ret_path, path);
    }
    return version;
}

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static void unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from; to++) {
        unsigned code;

        if (from[0] == '\\' && sscanf(from + 1, "%3o", &code) == 1) {
            *to = (char)code;
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

struct mount {
    char *root;  /* which directory of the hierarchy is mounted */
    char *point; /* and where */
    char *type;
    char *options;
};

/* "36 35 98:0 ROOT POINT options [optional...] - TYPE source OPTIONS" */
static bool mount_parse(char *line, struct mount *ret)
{
    char *tail = strstr(line, " - ");
    char *save, *source;

    if (!tail)
        return false;
    *tail = '\0';
    ret->type = strtok_r(tail + 3, " \n", &save);
    source = strtok_r(NULL, " \n", &save);
    ret->options = strtok_r(NULL, " \n", &save);
    if (!strtok_r(line, " ", &save) || !strtok_r(NULL, " ", &save) ||
        !strtok_r(NULL, " ", &save))
        return false;
    ret->root = strtok_r(NULL, " ", &save);
    ret->point = strtok_r(NULL, " ", &save);
    if (!ret->point || !source || !ret->options)
        return false;
    unescape(ret->root);
    unescape(ret->point);
    return true;
}

static bool mount_fits(const struct mount *mount, int version, const char *controller)
{
    if (version == 2)
        return strcmp(mount->type, "cgroup2") == 0;
    return strcmp(mount->type, "cgroup") == 0 && list_has(mount->options, controller);
}

/*
 * The directory of the group `path` below this mount.  If it is not below (a mount that was
 * made in another cgroup namespace), the mount point is the nearest that can be seen.
 */
static bool mount_locate(const struct mount *mount, const char *path, struct cgroup *ret)
{
    size_t root = strcmp(mount->root, "/") == 0 ? 0 : strlen(mount->root);
    const char *rest = "";
    int size;

    if (strncmp(path, mount->root, root) == 0 &&
        (path[root] == '/' || path[root] == '\0') && !strstr(path, "/.."))
        rest = path + root;
    if (strcmp(rest, "/") == 0)
        rest = "";
    size = snprintf(ret->path, sizeof(ret->path), "%s%s", mount->point, rest);
    ret->top = strlen(mount->point);
    return size > 0 && (size_t)size < sizeof(ret->path);
}

static bool cgroup_find(const struct cgroup_files *files, const char *controller,
                        struct cgroup *ret)
{
    char path[PATH_MAX];
    cleanup(file_done) FILE *lines = NULL;
    cleanup(text_done) char *line = NULL;
    size_t room = 0;

    if (!files)
        files = &own_files;
    ret->version = membership_find(files->membership, controller, path, sizeof(path));
    if (ret->version == 0)
        return false;
    lines = fopen(files->mounts, "re");
    while (lines && getline(&line, &room, lines) > 0) {
        struct mount mount;

        if (mount_parse(line, &mount) && mount_fits(&mount, ret->version, controller))
            return mount_locate(&mount, path, ret);
    }
    return false;
}

/* To the parent; false: that was the mount point. */
static bool cgroup_up(struct cgroup *group)
{
    char *slash = strrchr(group->path, '/');

    if (!slash || (size_t)(slash - group->path) < group->top)
        return false;
    *slash = '\0';
    return true;
}

static bool cgroup_read(const struct cgroup *group, const char *name, char *text,
                        size_t size)
{
    char path[PATH_MAX + 64];

    snprintf(path, sizeof(path), "%s/%s", group->path, name);
    return fd_read_text(path, text, size) == 0;
}

/*
 * A file that is one number.  UINT64_MAX, no limit: "max", v1's "-1" and its rounded 2^63.
 * false: no such file (the root group has none).
 */
static bool cgroup_read_number(const struct cgroup *group, const char *name,
                               uint64_t *ret)
{
    char text[64];
    char *end;

    if (!cgroup_read(group, name, text, sizeof(text)))
        return false;
    *ret = strtoull(text, &end, 10);
    if (end == text || text[0] == '-' || *ret >= UINT64_C(1) << 62)
        *ret = UINT64_MAX;
    return true;
}

/* The number behind `key` in a text of "key number" lines; 0 if it is not there. */
static uint64_t stat_field(const char *text, const char *key)
{
    size_t size = strlen(key);

    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, size) == 0 && line[size] == ' ')
            return strtoull(line + size, NULL, 10);
    }
    return 0;
}

static bool cpu_limit_v2(const struct cgroup *group, uint64_t *ret_quota,
                         uint64_t *ret_period)
{
    unsigned long long quota, period;
    char text[64];

    if (!cgroup_read(group, "cpu.max", text, sizeof(text)) ||
        sscanf(text, "%llu %llu", &quota, &period) != 2) /* "max 100000" does not scan */
        return false;
    *ret_quota = quota;
    *ret_period = period;
    return true;
}

static bool cpu_limit_v1(const struct cgroup *group, uint64_t *ret_quota,
                         uint64_t *ret_period)
{
    return cgroup_read_number(group, "cpu.cfs_quota_us", ret_quota) &&
           cgroup_read_number(group, "cpu.cfs_period_us", ret_period) &&
           *ret_quota != UINT64_MAX;
}

uint64_t cgroup_cpus(const struct cgroup_files *files)
{
    uint64_t least = UINT64_MAX;
    struct cgroup group;

    if (!cgroup_find(files, "cpu", &group))
        return UINT64_MAX;
    do {
        uint64_t quota, period;
        bool limited = group.version == 2 ? cpu_limit_v2(&group, &quota, &period)
                                          : cpu_limit_v1(&group, &quota, &period);

        if (limited && period > 0)
            least = min_u64(least, max_u64(quota / period + (quota % period != 0), 1));
    } while (cgroup_up(&group));
    return least;
}

/* The same things have other names in v1, where only "total_" counts the groups below. */
struct memory_names {
    const char *limit, *usage, *active, *inactive;
};

static const struct memory_names memory_names[] = {
    {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_active_file",
     "total_inactive_file"},
    {"memory.max", "memory.current", "active_file", "inactive_file"},
};

/*
 * Page cache counts as used but goes when memory is wanted.  What is on the file lists, and
 * not "file" or "cache": those have tmpfs and shared memory in them (ours), which stay.
 */
static uint64_t memory_reclaimable(const struct cgroup *group,
                                   const struct memory_names *names)
{
    char text[8192];

    if (!cgroup_read(group, "memory.stat", text, sizeof(text)))
        return 0;
    return stat_field(text, names->active) + stat_field(text, names->inactive);
}

static uint64_t left_of(uint64_t limit, uint64_t used)
{
    return limit > used ? limit - used : 0;
}

/* Bytes until this one group's limit, without swap. */
static uint64_t memory_left(const struct cgroup *group)
{
    const struct memory_names *names = &memory_names[group->version - 1];
    uint64_t limit, usage;

    if (!cgroup_read_number(group, names->limit, &limit) || limit == UINT64_MAX ||
        !cgroup_read_number(group, names->usage, &usage))
        return UINT64_MAX;
    return left_of(limit + memory_reclaimable(group, names), usage);
}

/* v1 would need memsw, which most kernels have switched off: there swap is not counted. */
static uint64_t swap_left(const struct cgroup *group)
{
    uint64_t limit, usage;

    if (group->version == 1)
        return 0;
    if (!cgroup_read_number(group, "memory.swap.max", &limit) || limit == UINT64_MAX ||
        !cgroup_read_number(group, "memory.swap.current", &usage))
        return UINT64_MAX;
    return left_of(limit, usage);
}

static uint64_t swap_free(void)
{
    struct sysinfo info;

    return sysinfo(&info) == 0 ? (uint64_t)info.freeswap * info.mem_unit : 0;
}

uint64_t cgroup_memory_headroom(const struct cgroup_files *files)
{
    uint64_t memory = UINT64_MAX;
    uint64_t swap = swap_free();
    struct cgroup group;

    if (!cgroup_find(files, "memory", &group))
        return UINT64_MAX;
    do { /* a page, in memory or in swap, counts in the group and in all above it */
        memory = min_u64(memory, memory_left(&group));
        if (swap > 0)
            swap = min_u64(swap, swap_left(&group));
    } while (cgroup_up(&group));
    return memory == UINT64_MAX ? memory : memory + swap;
}

uint64_t cgroup_oom_kills(const struct cgroup_files *files)
{
    struct cgroup group;
    char text[1024];

    if (!cgroup_find(files, "memory", &group) ||
        !cgroup_read(&group, group.version == 2 ? "memory.events" : "memory.oom_control",
                     text, sizeof(text)))
        return 0;
    return stat_field(text, "oom_kill");
}
