#include "symbol.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The function of an object's file that holds this address; static ones too. */
static bool function_of(const char *file, uint64_t offset, char *ret, size_t room)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    struct stat st;
    const char *map = MAP_FAILED;
    bool found = false;

    if (fd >= 0 && fstat(fd, &st) == 0)
        map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (fd >= 0)
        close(fd);
    if (map == MAP_FAILED)
        return false;
    const ElfW(Ehdr) *e = (const void *)map;
    const ElfW(Shdr) *sections = (const void *)(map + e->e_shoff);

    for (unsigned i = 0; i < e->e_shnum && !found; i++) {
        if (sections[i].sh_type != SHT_SYMTAB && sections[i].sh_type != SHT_DYNSYM)
            continue;
        const ElfW(Sym) *s = (const void *)(map + sections[i].sh_offset);
        const char *names = map + sections[sections[i].sh_link].sh_offset;

        for (size_t k = 0; k < sections[i].sh_size / sizeof(*s) && !found; k++)
            if (ELF64_ST_TYPE(s[k].st_info) == STT_FUNC && offset >= s[k].st_value &&
                offset < s[k].st_value + s[k].st_size) {
                snprintf(ret, room, "%s+%#lx", names + s[k].st_name,
                         (unsigned long)(offset - s[k].st_value));
                found = true;
            }
    }
    munmap((void *)(uintptr_t)map, (size_t)st.st_size);
    return found;
}

/* addr2line, where it is installed. */
static void line_of(const char *file, uint64_t offset, char *ret, size_t room)
{
    char command[512], *base;
    FILE *pipe;

    ret[0] = '\0';
    snprintf(command, sizeof(command), "addr2line -e '%s' %#lx 2>/dev/null", file,
             (unsigned long)offset);
    pipe = popen(command, "re");
    if (!pipe)
        return;
    if (!fgets(ret, (int)room, pipe) || ret[0] == '?')
        ret[0] = '\0';
    pclose(pipe);
    ret[strcspn(ret, " \n")] = '\0';
    base = strrchr(ret, '/');
    if (base)
        memmove(ret, base + 1, strlen(base));
}

const char *symbol_name(uint64_t address)
{
    static char name[512];
    char function[200], line[256];
    char self[256];
    const char *file;
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    Dl_info info = {0};
    uint64_t offset;

    if (!dladdr((void *)(uintptr_t)address, &info) || !info.dli_fname) {
        snprintf(name, sizeof(name), "%#lx", (unsigned long)address);
        return name;
    }
    self[length > 0 ? length : 0] = '\0';
    file = strstr(info.dli_fname, ".so") ? info.dli_fname : self;
    offset = address - (uint64_t)(uintptr_t)info.dli_fbase;
    if (!function_of(file, offset, function, sizeof(function)))
        snprintf(function, sizeof(function), "%s+%#lx",
                 info.dli_sname ? info.dli_sname : info.dli_fname, (unsigned long)offset);
    line_of(file, offset, line, sizeof(line));
    snprintf(name, sizeof(name), "%s%s%s", function, line[0] ? ", " : "", line);
    return name;
}
