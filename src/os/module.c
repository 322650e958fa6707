#include "os/module.h"

#include <dlfcn.h>
#include <elf.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- One module, as dl_iterate_phdr() shows it ------------------------------------- */

static bool segment_has(const ElfW(Phdr) * segment, uint64_t offset, uint64_t size)
{
    return segment->p_type == PT_LOAD && offset >= segment->p_vaddr &&
           offset - segment->p_vaddr < segment->p_memsz &&
           size <= segment->p_memsz - (offset - segment->p_vaddr);
}

static bool module_has_code(const struct dl_phdr_info *module, uint64_t offset)
{
    for (unsigned i = 0; i < module->dlpi_phnum; i++)
        if (segment_has(&module->dlpi_phdr[i], offset, 1) &&
            (module->dlpi_phdr[i].p_flags & PF_X))
            return true;
    return false;
}

/* Tools that edit files leave notes that are not loaded. */
static bool module_has_bytes(const struct dl_phdr_info *module, uint64_t offset,
                             uint64_t size)
{
    for (unsigned i = 0; i < module->dlpi_phnum; i++)
        if (segment_has(&module->dlpi_phdr[i], offset, size))
            return true;
    return false;
}

/* A note is {name size, description size, type}, name, description, each part padded. */
static bool notes_find_build_id(const uint8_t *notes, uint64_t size, uint64_t align,
                                struct code_address *ret)
{
    ElfW(Nhdr) head;

    while (size >= sizeof(head)) {
        uint64_t description, next;

        memcpy(&head, notes, sizeof(head));
        description = sizeof(head) + round_up(head.n_namesz, align);
        next = round_up(description + head.n_descsz, align);
        if (next > round_up(size, align) || description + head.n_descsz > size)
            return false;
        if (head.n_type == NT_GNU_BUILD_ID && head.n_namesz == 4 && head.n_descsz > 0 &&
            memcmp(notes + sizeof(head), "GNU", 4) == 0) {
            ret->build_id_size = (uint32_t)min_u64(head.n_descsz, BUILD_ID_MAX);
            memcpy(ret->build_id, notes + description, ret->build_id_size);
            return true;
        }
        notes += min_u64(next, size);
        size -= min_u64(next, size);
    }
    return false;
}

static bool module_build_id(const struct dl_phdr_info *module, struct code_address *ret)
{
    for (unsigned i = 0; i < module->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &module->dlpi_phdr[i];
        uint64_t align = segment->p_align == 8 ? 8 : 4;

        if (segment->p_type == PT_NOTE &&
            module_has_bytes(module, segment->p_vaddr, segment->p_memsz) &&
            notes_find_build_id((const uint8_t *)(module->dlpi_addr + segment->p_vaddr),
                                segment->p_memsz, align, ret))
            return true;
    }
    return false;
}

/* "" for the main program.  A relative name (of a dlopen) means something here only. */
static bool module_path(const struct dl_phdr_info *module, char path[MODULE_PATH_MAX])
{
    char absolute[PATH_MAX];
    const char *name = module->dlpi_name;

    if (name[0] != '/' && strchr(name, '/') && realpath(name, absolute))
        name = absolute;
    if (strlen(name) >= MODULE_PATH_MAX)
        return false;
    strcpy(path, name);
    return true;
}

/* For a module without a build-id: the size of its file, in place of one. */
static int module_file_size(struct code_address *ret)
{
    struct stat file;
    uint64_t size;

    if (stat(ret->path[0] ? ret->path : "/proc/self/exe", &file) < 0)
        return -EFAULT;
    size = (uint64_t)file.st_size;
    memcpy(ret->build_id, &size, sizeof(size));
    return 0;
}

/* All but the offset. */
static int module_describe(const struct dl_phdr_info *module, struct code_address *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (module_build_id(module, ret)) {
        (void)module_path(module, ret->path); /* only needed where it is not loaded */
        return 0;
    }
    return module_path(module, ret->path) ? module_file_size(ret) : -ENAMETOOLONG;
}

static bool module_is(const struct code_address *a, const struct code_address *b)
{
    return a->build_id_size == b->build_id_size &&
           memcmp(a->build_id, b->build_id, sizeof(a->build_id)) == 0 &&
           (a->build_id_size > 0 || strcmp(a->path, b->path) == 0);
}

/* ---- From an address to its module ------------------------------------------------- */

/*
 * The module of the last call in this thread, as long as none was loaded or unloaded.  By
 * thread: a fork child has a whole one, and there is no lock that a fork could catch.
 */
struct module_memory {
    uint64_t loads, unloads;
    struct dl_phdr_info module;
    struct code_address code;
};

static __thread struct module_memory last_module;

struct address_search {
    uint64_t address;
    struct code_address *ret;
    int result;
};

/* Is it the last module again?  (Were it unloaded, its program headers could be gone.) */
static bool memory_has(const struct dl_phdr_info *first, uint64_t address)
{
    return last_module.loads == first->dlpi_adds &&
           last_module.unloads == first->dlpi_subs && last_module.module.dlpi_phdr &&
           module_has_code(&last_module.module, address - last_module.module.dlpi_addr);
}

static int memory_fill(const struct dl_phdr_info *module)
{
    int r;

    last_module.module.dlpi_phdr = NULL; /* nothing, unless it goes well */
    r = module_describe(module, &last_module.code);
    if (r < 0)
        return r;
    last_module.loads = module->dlpi_adds;
    last_module.unloads = module->dlpi_subs;
    last_module.module = *module;
    return 0;
}

static int address_visit(struct dl_phdr_info *module, size_t size, void *argument)
{
    struct address_search *search = argument;

    (void)size;
    if (memory_has(module, search->address))
        search->result = 0;
    else if (module_has_code(module, search->address - module->dlpi_addr))
        search->result = memory_fill(module);
    else
        return 0;
    if (search->result == 0) {
        *search->ret = last_module.code;
        search->ret->offset = search->address - last_module.module.dlpi_addr;
    }
    return 1;
}

int code_address_of(void (*function)(void), struct code_address *ret)
{
    struct address_search search = {
        .address = (uintptr_t)function, .ret = ret, .result = -EFAULT};

    dl_iterate_phdr(address_visit, &search);
    return search.result;
}

/* ---- From a module to the address -------------------------------------------------- */

struct module_search {
    const struct code_address *code;
    uint64_t address; /* 0: not found */
};

static int module_visit(struct dl_phdr_info *module, size_t size, void *argument)
{
    struct module_search *search = argument;
    struct code_address found;

    (void)size;
    if (module_describe(module, &found) < 0 || !module_is(&found, search->code) ||
        !module_has_code(module, search->code->offset))
        return 0;
    if (search->address == 0 || strcmp(found.path, search->code->path) == 0)
        search->address = module->dlpi_addr + search->code->offset;
    /* A file may be loaded twice, from copies, each with its own data: the path decides. */
    return strcmp(found.path, search->code->path) == 0;
}

static uint64_t module_search(const struct code_address *code)
{
    struct module_search search = {.code = code};

    dl_iterate_phdr(module_visit, &search);
    return search.address;
}

/* It came through shared memory. */
static bool code_address_check(const struct code_address *code)
{
    return code->build_id_size <= BUILD_ID_MAX &&
           memchr(code->path, '\0', sizeof(code->path));
}

int code_address_resolve(const struct code_address *code, void (**ret)(void))
{
    struct code_address own = *code;
    uint64_t address;
    void *handle;

    if (!code_address_check(&own))
        return -ENOEXEC;
    address = module_search(&own);
    if (address == 0 && own.path[0]) {
        handle = dlopen(own.path, RTLD_NOW | RTLD_LOCAL);
        address = handle ? module_search(&own) : 0;
        if (handle && address == 0)
            dlclose(handle);
    }
    if (address == 0)
        return -ENOEXEC;
    *ret = (void (*)(void))(uintptr_t)address;
    return 0;
}
