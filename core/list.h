/*
 * list.h - intrusive doubly linked ring with a head node. A node that is linked nowhere has next == NULL.
 */
#ifndef CORE_LIST_H
#define CORE_LIST_H

#include "core/base.h"

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *head)
{
    head->next = head->prev = head;
}
static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}
static inline bool list_linked(const struct list *node)
{
    return node->next != NULL;
}
static inline void list_push(struct list *head, struct list *node) /* at the tail */
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}
static inline void list_unlink(struct list *node)
{
    if (!node->next)
        return;
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = node->prev = NULL;
}
static inline struct list *list_pop(struct list *head) /* NULL when empty */
{
    struct list *n = head->next;
    if (n == head)
        return NULL;
    list_unlink(n);
    return n;
}

#endif
