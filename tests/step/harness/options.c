#include "options.h"

#define GUARD          60
#define GUARD_SELFTEST 8

struct options options;

struct kill_plan plan = {.at = SIZE_MAX, .with = SIZE_MAX, .way = -1, .how = -1};

static const char *const modes[MODES] = {"--all", "--quick", "--pairs", "--selftest"};

static size_t number_of(const char *text)
{
    char *end;
    unsigned long long n = text ? strtoull(text, &end, 10) : 0;

    if (!text || *end) {
        fprintf(stderr, "%s: a number is needed\n", text ? text : "");
        exit(2);
    }
    return (size_t)n;
}

static int death_of(const char *text)
{
    for (int i = 0; i < DEATHS; i++)
        if (text && strcmp(text, death_names[i]) == 0)
            return i;
    fprintf(stderr, "--by kill, exit or exec\n");
    exit(2);
}

static _Noreturn void usage(const char *program)
{
    fprintf(stderr,
            "usage: %s [--all|--quick|--pairs|--selftest|--list] [-j JOBS]\n"
            "       [--budget N] [--seconds S] [--guard S]\n"
            "       [--at N [--with M] [--way W] [--by kill|exit|exec]] [NAME]...\n",
            program);
    exit(2);
}

static bool mode_read(const char *name)
{
    for (int i = 0; i < MODES; i++)
        if (strcmp(name, modes[i]) == 0) {
            options.mode = (enum mode)i;
            return true;
        }
    return false;
}

static bool option_read(const char *name, const char *value)
{
    if (strcmp(name, "--at") == 0)
        plan.at = number_of(value);
    else if (strcmp(name, "--with") == 0)
        plan.with = number_of(value);
    else if (strcmp(name, "--way") == 0)
        plan.way = (int)number_of(value);
    else if (strcmp(name, "--by") == 0)
        plan.how = death_of(value);
    else if (strcmp(name, "--budget") == 0)
        options.budget = number_of(value);
    else if (strcmp(name, "--seconds") == 0)
        options.seconds = number_of(value);
    else if (strcmp(name, "--guard") == 0)
        plan.guard = (int)number_of(value);
    else if (strcmp(name, "-j") == 0)
        options.jobs = (unsigned)number_of(value);
    else
        return false;
    return true;
}

/* From the names on; options may stand behind them as well, as violations print them. */
static void names_read(int argc, char **argv)
{
    int count = argc;

    for (int i = 1; i + 1 < argc; i++)
        if (argv[i][0] == '-' && option_read(argv[i], argv[i + 1])) {
            count = count < i ? count : i;
            i++;
        }
    options.names = argv;
    options.name_count = count;
}

void options_read(int argc, char **argv)
{
    int i;

    for (i = 1; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--list") == 0)
            options.list = true;
        else if (option_read(argv[i], argv[i + 1]))
            i++;
        else if (!mode_read(argv[i]))
            usage(argv[0]);
    }
    names_read(argc - i, argv + i);
    if (!plan.guard)
        plan.guard = options.mode == SELFTEST ? GUARD_SELFTEST : GUARD;
}
