#include "test.h"

#include "os/module.h"

#include <dlfcn.h>
#include <sys/mman.h>

typedef void (*function)(void);

static void here(void)
{
}

static bool resolves_to(const struct code_address *code, function wanted)
{
    function found = NULL;

    return code_address_resolve(code, &found) == 0 && found == wanted;
}

TEST(code_of_the_main_program_is_found_again)
{
    struct code_address code;

    CHECK_EQ(code_address_of(here, &code), 0);
    CHECK_STR(code.path, "");
    CHECK(resolves_to(&code, here));
    CHECK_EQ(code_address_of((function)test_die, &code), 0);
    CHECK(resolves_to(&code, (function)test_die));
}

TEST(code_of_a_library_is_found_again)
{
    struct code_address code;
    function getpid_there = (function)(uintptr_t)dlsym(RTLD_DEFAULT, "getppid");

    CHECK_EQ(code_address_of(getpid_there, &code), 0);
    CHECK(code.path[0] == '/');
    CHECK(resolves_to(&code, getpid_there));
    CHECK_EQ(code_address_of(here, &code), 0); /* not the last module again */
    CHECK(resolves_to(&code, here));
}

TEST(a_child_finds_the_same_code)
{
    struct code_address *code = test_shared(sizeof(*code));

    CHECK_EQ(in_child({ CHECK_EQ(code_address_of(here, code), 0); }), 0);
    CHECK(resolves_to(code, here));
}

TEST(what_is_no_code_is_refused)
{
    struct code_address code = {.offset = 77};
    static int data;
    int local;
    void *page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK_EQ(code_address_of(NULL, &code), -EFAULT);
    CHECK_EQ(code_address_of((function)(uintptr_t)&data, &code), -EFAULT);
    CHECK_EQ(code_address_of((function)(uintptr_t)&local, &code), -EFAULT);
    CHECK_EQ(code_address_of((function)(uintptr_t)page, &code), -EFAULT);
    CHECK_EQ(code_address_of((function)UINTPTR_MAX, &code), -EFAULT);
    CHECK_EQ(code.offset, 77);
}

TEST(damaged_addresses_are_refused)
{
    struct code_address good, code;
    function found = here;

    CHECK_EQ(code_address_of(here, &good), 0);
    code = good;
    code.build_id[0] ^= 1;
    CHECK_EQ(code_address_resolve(&code, &found), -ENOEXEC);
    code = good;
    code.build_id_size = UINT32_MAX;
    CHECK_EQ(code_address_resolve(&code, &found), -ENOEXEC);
    code = good;
    code.offset = UINT64_MAX;
    CHECK_EQ(code_address_resolve(&code, &found), -ENOEXEC);
    code.offset = 0; /* the ELF header: mapped, but no code */
    CHECK_EQ(code_address_resolve(&code, &found), -ENOEXEC);
    code = good;
    memset(code.path, 'x', sizeof(code.path));
    CHECK_EQ(code_address_resolve(&code, &found), -ENOEXEC);
    CHECK(found == here);
}

static void find_often(int i, void *argument)
{
    function functions[] = {here, (function)(uintptr_t)dlsym(RTLD_DEFAULT, "getppid")};
    struct code_address code;

    (void)argument;
    for (int n = 0; n < 300; n++) {
        CHECK_EQ(code_address_of(functions[(i + n) % 2], &code), 0);
        CHECK(resolves_to(&code, functions[(i + n) % 2]));
    }
}

TEST(threads_find_code_at_once)
{
    test_threads(4, find_often, NULL);
}

/* ---- Libraries that we build ------------------------------------------------------- */

static char folder[] = "/tmp/piu_module_XXXXXX";
static pid_t folder_owner; /* its children call exit() too */

static void folder_remove(void)
{
    char command[128];

    if (getpid() != folder_owner)
        return;
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    (void)!system(command);
}

static void folder_new(void)
{
    if (system("cc --version >/dev/null 2>&1") != 0)
        SKIP("no cc");
    CHECK(mkdtemp(folder));
    folder_owner = getpid();
    atexit(folder_remove);
}

/* A library whose answer() is `answer`; the path of it. */
static const char *library_new(const char *name, int answer, const char *options)
{
    static char path[128];
    char command[512];

    snprintf(path, sizeof(path), "%s/%s.so", folder, name);
    snprintf(command, sizeof(command),
             "echo 'int answer(void) { return %d; }' | cc -shared -fPIC %s -x c - -o %s",
             answer, options, path);
    CHECK_EQ(system(command), 0);
    return path;
}

static void *library_open(const char *path, function *ret)
{
    void *handle = dlopen(path, RTLD_NOW);

    CHECK(handle);
    *ret = (function)(uintptr_t)dlsym(handle, "answer");
    CHECK(*ret);
    return handle;
}

static int answer_of(const struct code_address *code)
{
    function found;
    int r = code_address_resolve(code, &found);

    return r < 0 ? r : ((int (*)(void))found)();
}

/* The address of answer() as another process saw it, which alone had the library loaded. */
static struct code_address *code_in_child(const char *path)
{
    struct code_address *code = test_shared(sizeof(*code));

    CHECK_EQ(in_child({
                 function answer;

                 library_open(path, &answer);
                 CHECK_EQ(code_address_of(answer, code), 0);
             }),
             0);
    return code;
}

TEST(a_library_that_is_not_loaded_is_opened)
{
    const char *path;

    folder_new();
    path = library_new("a", 42, "-Wl,--build-id");
    CHECK_EQ(answer_of(code_in_child(path)), 42);
}

TEST(another_build_of_a_library_is_refused)
{
    struct code_address *code;

    folder_new();
    code = code_in_child(library_new("a", 42, "-Wl,--build-id"));
    library_new("a", 43, "-Wl,--build-id");
    CHECK_EQ(answer_of(code), -ENOEXEC);
    unlink(code->path);
    CHECK_EQ(answer_of(code), -ENOEXEC);
}

TEST(a_build_loaded_from_elsewhere_is_found)
{
    struct code_address *code;
    char other[128];
    function answer;

    folder_new();
    code = code_in_child(library_new("a", 42, "-Wl,--build-id"));
    snprintf(other, sizeof(other), "%s/moved.so", folder);
    CHECK_EQ(rename(code->path, other), 0);
    library_open(other, &answer);
    CHECK_EQ(answer_of(code), 42);
}

TEST(of_two_copies_of_a_build_the_path_decides)
{
    char command[256];
    struct code_address code;
    function first, second;
    const char *path;

    folder_new();
    path = library_new("a", 42, "-Wl,--build-id");
    snprintf(command, sizeof(command), "cp %s %s/b.so", path, folder);
    CHECK_EQ(system(command), 0);
    library_open(path, &first);
    snprintf(command, sizeof(command), "%s/b.so", folder);
    library_open(command, &second);
    CHECK(first != second);
    CHECK_EQ(code_address_of(first, &code), 0);
    CHECK(resolves_to(&code, first));
    CHECK_EQ(code_address_of(second, &code), 0);
    CHECK(resolves_to(&code, second));
}

TEST(without_a_build_id_path_and_size_count)
{
    struct code_address *code;
    const char *path;

    folder_new();
    path = library_new("a", 42, "-Wl,--build-id=none");
    code = code_in_child(path);
    CHECK_EQ(code->build_id_size, 0);
    CHECK_STR(code->path, path);
    CHECK_EQ(in_child({ CHECK_EQ(answer_of(code), 42); }), 0);
    library_new("a", 42, "-Wl,--build-id=none -g3 -DLONGER_THAN_BEFORE");
    CHECK_EQ(answer_of(code), -ENOEXEC);
}

TEST(a_library_opened_by_a_relative_name_has_its_whole_path)
{
    struct code_address *code;

    folder_new();
    library_new("a", 42, "-Wl,--build-id");
    CHECK_EQ(chdir(folder), 0);
    code = code_in_child("./a.so");
    CHECK_EQ(chdir("/"), 0);
    CHECK_EQ(answer_of(code), 42);
}

TEST(a_library_in_the_place_of_one_that_was_closed_is_told_apart)
{
    struct code_address a, b;
    char path_a[128], path_b[128];
    function answer;
    void *handle;

    folder_new();
    strcpy(path_a, library_new("a", 1, "-Wl,--build-id"));
    strcpy(path_b, library_new("b", 2, "-Wl,--build-id"));
    handle = library_open(path_a, &answer);
    CHECK_EQ(code_address_of(answer, &a), 0);
    CHECK_EQ(dlclose(handle), 0);
    CHECK_EQ(code_address_of(answer, &b), -EFAULT);
    handle = library_open(path_b, &answer);
    CHECK_EQ(code_address_of(answer, &b), 0);
    CHECK_STR(b.path, path_b);
    CHECK_EQ(answer_of(&b), 2);
    CHECK_EQ(dlclose(handle), 0);
    CHECK_EQ(answer_of(&a), 1);
}

TEST(a_path_that_is_too_long_is_done_without_where_there_is_a_build_id)
{
    char command[1024], deep[300], path[600];
    struct code_address code;
    function answer;

    folder_new();
    memset(deep, 'd', sizeof(deep));
    deep[100] = deep[200] = '/';
    deep[290] = '\0';
    library_new("a", 42, "-Wl,--build-id");
    library_new("b", 43, "-Wl,--build-id=none");
    snprintf(command, sizeof(command), "mkdir -p %s/%s && cp %s/*.so %s/%s", folder, deep,
             folder, folder, deep);
    CHECK_EQ(system(command), 0);
    snprintf(path, sizeof(path), "%s/%s/a.so", folder, deep);
    library_open(path, &answer);
    CHECK_EQ(code_address_of(answer, &code), 0);
    CHECK_STR(code.path, "");
    CHECK_EQ(answer_of(&code), 42);
    snprintf(path, sizeof(path), "%s/%s/b.so", folder, deep);
    library_open(path, &answer);
    CHECK_EQ(code_address_of(answer, &code), -ENAMETOOLONG);
}
