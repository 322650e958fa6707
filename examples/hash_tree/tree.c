#include "tree.h"

#include <errno.h>
#include <fts.h>
#include <piu.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int larger_first(const void *a, const void *b)
{
    const struct file *x = a, *y = b;

    if (x->size != y->size)
        return x->size < y->size ? 1 : -1;
    return strcmp(x->path, y->path);
}

static int tree_add(struct tree *tree, const FTSENT *entry)
{
    char *path = piu_shared_new(1, entry->fts_pathlen + 1);

    if ((tree->count & (tree->count - 1)) == 0) { /* 0 or a power of two: full */
        size_t room = tree->count == 0 ? 1 : 2 * tree->count;
        struct file *files = realloc(tree->files, room * sizeof(*files));

        if (files == NULL)
            return -ENOMEM;
        tree->files = files;
    }
    if (path == NULL)
        return -ENOMEM;
    memcpy(path, entry->fts_path, entry->fts_pathlen + 1);
    tree->files[tree->count].path = path;
    tree->files[tree->count].size = (uint64_t)entry->fts_statp->st_size;
    tree->bytes += tree->files[tree->count++].size;
    return 0;
}

static int tree_walk(struct tree *tree, FTS *fts)
{
    FTSENT *entry;
    int r = 0;

    while (r == 0 && (errno = 0, entry = fts_read(fts)) != NULL) {
        bool failed = entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR ||
                      entry->fts_info == FTS_NS;

        if (failed && entry->fts_level == FTS_ROOTLEVEL)
            return -entry->fts_errno;
        if (failed)
            tree->unlisted++;
        if (entry->fts_info == FTS_F)
            r = tree_add(tree, entry);
    }
    return r == 0 ? -errno : r;
}

int tree_list(struct tree *ret, const char *directory)
{
    char *const roots[] = {(char *)directory, NULL};
    FTS *fts =
        fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_XDEV | FTS_NOCHDIR, NULL);
    struct tree tree = {0};
    struct file *shared;
    int r = fts == NULL ? -errno : tree_walk(&tree, fts);

    if (fts != NULL)
        fts_close(fts);
    if (r == 0 && tree.count == 0)
        r = -ENODATA;
    if (r == 0) {
        shared = piu_shared_new(tree.count, sizeof(*shared));
        if (shared == NULL)
            r = -errno;
    }
    if (r == 0) {
        qsort(tree.files, tree.count, sizeof(*shared), larger_first);
        memcpy(shared, tree.files, tree.count * sizeof(*shared));
        *ret = tree;
        ret->files = shared;
    }
    free(tree.files);
    return r;
}
