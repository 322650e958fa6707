#include "cases.h"

#include "options.h"

static struct kill_case *cases, **cases_end = &cases;

void kill_register(struct kill_case *c)
{
    *cases_end = c;
    cases_end = &c->next;
}

void case_name(const struct kill_case *c, char name[CASE_NAME])
{
    snprintf(name, CASE_NAME, "%s/%s", c->structure, c->name);
}

static bool is_named(const struct kill_case *c)
{
    char name[CASE_NAME];

    case_name(c, name);
    for (int i = 0; i < options.name_count; i++)
        if (strcmp(options.names[i], c->structure) == 0 ||
            strcmp(options.names[i], name) == 0)
            return true;
    return options.name_count == 0;
}

bool case_is_extra(const struct kill_case *c)
{
    return options.mode == QUICK && c->then;
}

static bool is_due(const struct kill_case *c)
{
    if (!is_named(c) || c->twin != (options.mode == SELFTEST))
        return false;
    if (one_is_wanted() || options.mode == SELFTEST || case_is_extra(c))
        return true;
    return kill_is_of_two(c) == (options.mode == PAIRS);
}

struct kill_case *case_next(const struct kill_case *c)
{
    struct kill_case *next = c ? c->next : cases;

    while (next && !is_due(next))
        next = next->next;
    return next;
}

void cases_list(void)
{
    for (const struct kill_case *c = cases; c; c = c->next) {
        char name[CASE_NAME];

        if (!is_named(c))
            continue;
        case_name(c, name);
        printf("%s%s\n", name,
               c->twin             ? "  (broken)"
               : kill_is_of_two(c) ? "  (pairs)"
                                   : "");
    }
}
