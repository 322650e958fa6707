#include "buffer.h"

#include "module.h"

#include <sys/mman.h>

#define PAGE        ((size_t)4096)
#define LARGE_PAGE  ((size_t)2 << 20)
#define SLAB        (4 * LARGE_PAGE)
#define PIECE_LEAST ((size_t)256 << 10)
#define PIECE_MOST  (2 * LARGE_PAGE)
#define PIECES      (SLAB / PIECE_LEAST)
#define DEAD_MOST   ((size_t)32 << 20)

struct range {
    size_t begin, size;
};

struct slab {
    struct slab *next;
    char *bytes;
    size_t used;
    unsigned living;
    bool is_torn; /* its large pages are not whole any more */
    unsigned count;
    struct range dead[PIECES]; /* `count` of them, which the kernel has not got back */
};

static size_t round_up(size_t size, size_t unit)
{
    return (size + unit - 1) & ~(unit - 1);
}

/* Those that lie whole in it. */
static void ask_for_large_pages(char *memory, size_t size)
{
    uintptr_t begin = round_up((uintptr_t)memory, LARGE_PAGE);
    uintptr_t end = ((uintptr_t)memory + size) & ~(LARGE_PAGE - 1);

    if (begin < end)
        (void)madvise((void *)begin, end - begin, MADV_HUGEPAGE);
}

/* ---- Slabs -------------------------------------------------------------------------------------- */

/* From a large page on. */
static char *slab_map(void)
{
    char *memory = mmap(NULL, SLAB + LARGE_PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t before;

    if (memory == MAP_FAILED)
        return NULL;
    before = round_up((uintptr_t)memory, LARGE_PAGE) - (uintptr_t)memory;
    if (before > 0)
        munmap(memory, before);
    if (before < LARGE_PAGE)
        munmap(memory + before + SLAB, LARGE_PAGE - before);
    ask_for_large_pages(memory + before, SLAB);
    return memory + before;
}

static struct slab *slab_new(struct slabs *s)
{
    struct slab *slab = PyMem_Calloc(1, sizeof(*slab));

    if (slab)
        slab->bytes = slab_map();
    if (!slab || !slab->bytes) {
        PyMem_Free(slab);
        return NULL;
    }
    slab->next = s->all;
    s->all = slab;
    return slab;
}

static void slab_free(struct slabs *s, struct slab *slab)
{
    struct slab **link = &s->all;

    while (*link != slab)
        link = &(*link)->next;
    *link = slab->next;
    munmap(slab->bytes, SLAB);
    PyMem_Free(slab);
}

static void slab_forget_dead(struct slabs *s, struct slab *slab)
{
    for (unsigned i = 0; i < slab->count; i++)
        s->dead -= slab->dead[i].size;
    slab->count = 0;
}

/* B2 */
static void slab_make_whole(struct slabs *s, struct slab *slab)
{
    slab_forget_dead(s, slab);
    slab->used = 0;
    if (slab->is_torn || (slab != s->open && s->spare)) {
        if (slab == s->open)
            s->open = NULL;
        slab_free(s, slab);
    } else if (slab != s->open)
        s->spare = slab;
}

/* B3 */
static void give_dead_back(struct slabs *s)
{
    for (struct slab *slab = s->all; slab; slab = slab->next) {
        for (unsigned i = 0; i < slab->count; i++)
            madvise(slab->bytes + slab->dead[i].begin, slab->dead[i].size, MADV_DONTNEED);
        slab->is_torn |= slab->count > 0;
        slab_forget_dead(s, slab);
    }
}

static void range_die(struct slabs *s, struct slab *slab, struct range range)
{
    slab->dead[slab->count++] = range;
    s->dead += range.size;
    if (--slab->living == 0)
        slab_make_whole(s, slab);
    else if (s->dead > DEAD_MOST)
        give_dead_back(s);
}

/* The last of its dead ranges that has this size; SLAB: none. */
static size_t dead_take(struct slabs *s, struct slab *slab, size_t size)
{
    for (unsigned i = slab->count; i-- > 0;) {
        struct range range = slab->dead[i];

        if (range.size == size) {
            slab->dead[i] = slab->dead[--slab->count];
            s->dead -= size;
            return range.begin;
        }
    }
    return SLAB;
}

/* Where in s->open a piece may lie; SLAB: no memory. */
static size_t place_take(struct slabs *s, size_t size)
{
    size_t place = s->open ? dead_take(s, s->open, size) : SLAB;

    if (place < SLAB)
        return place;
    if (!s->open || SLAB - s->open->used < size) {
        s->open = s->spare ? s->spare : slab_new(s);
        s->spare = NULL;
    }
    if (!s->open)
        return SLAB;
    place = s->open->used;
    s->open->used += size;
    return place;
}

/* ---- Pieces ------------------------------------------------------------------------------------- */

struct piece {
    PyObject_HEAD struct module_state *state;
    struct slab *slab;
    struct range range;
    Py_ssize_t size; /* as it was asked for */
};

static struct piece *piece_of(PyObject *self)
{
    return (struct piece *)self;
}

/* Takes `range` of s->slabs.open over, also where it fails. */
static PyObject *piece_new(struct module_state *s, struct range range, size_t size)
{
    struct slab *slab = s->slabs.open;
    PyObject *self = s->piece_type->tp_alloc(s->piece_type, 0);
    struct piece *p = piece_of(self);

    slab->living++;
    if (!self) {
        range_die(&s->slabs, slab, range);
        return NULL;
    }
    p->state = s;
    p->slab = slab;
    p->range = range;
    p->size = (Py_ssize_t)size;
    return self;
}

static void piece_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    struct piece *p = piece_of(self);

    range_die(&p->state->slabs, p->slab, p->range);
    type->tp_free(self);
    Py_DECREF(type);
}

static int piece_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    struct piece *p = piece_of(self);

    return PyBuffer_FillInfo(view, self, p->slab->bytes + p->range.begin, p->size, 0,
                             flags);
}

/* NULL without an exception: no memory for a slab. */
static PyObject *buffer_in_slab(struct module_state *s, size_t size, char **ret_bytes)
{
    struct range range = {.size = round_up(size, PAGE)};
    PyObject *piece, *view;

    range.begin = place_take(&s->slabs, range.size);
    if (range.begin == SLAB)
        return NULL;
    *ret_bytes = s->slabs.open->bytes + range.begin;
    piece = piece_new(s, range, size);
    view = piece ? PyMemoryView_FromObject(piece) : NULL;
    Py_XDECREF(piece);
    return view;
}

PyObject *buffer_new(struct module_state *s, size_t size, bool of_array, char **ret_bytes)
{
    PyObject *buffer = NULL;

    if (of_array && size >= PIECE_LEAST && size < PIECE_MOST)
        buffer = buffer_in_slab(s, size, ret_bytes);
    if (buffer || PyErr_Occurred())
        return buffer;
    buffer = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (!buffer)
        return NULL;
    *ret_bytes = PyByteArray_AS_STRING(buffer);
    if (size >= PIECE_MOST)
        ask_for_large_pages(*ret_bytes, size);
    return buffer;
}

/* ---- The type ----------------------------------------------------------------------------------- */

static PyType_Slot slots[] = {
    SLOT(Py_tp_doc, PyDoc_STR("Memory of an object that was received.")),
    SLOT(Py_tp_dealloc, piece_dealloc),
    SLOT(Py_bf_getbuffer, piece_getbuffer),
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "piu._piu._Piece",
    .basicsize = sizeof(struct piece),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

int buffer_type_add(PyObject *module)
{
    return module_add_type(module, &spec, &state_of_module(module)->piece_type);
}
