/* The regular files under a directory. */
#ifndef TREE_H
#define TREE_H

#include <stddef.h>
#include <stdint.h>

struct file {
    const char *path;
    uint64_t size; /* when it was listed */
};

struct tree {
    struct file *files; /* largest first: all would wait for a giant that came last */
    size_t count;
    uint64_t bytes;
    size_t unlisted; /* directories that could not be looked into */
};

/*
 * List them, into shared memory that lives as long as the family.  Links are not followed
 * (save `directory` itself), other file systems not entered.
 *     0   listed      -ENODATA   there is none      -ENOENT, -EACCES ... of `directory`
 */
int tree_list(struct tree *ret, const char *directory);

#endif
