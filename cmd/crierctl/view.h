/*
 * view.h - an answer of the server API for people: its members a line each, lists indented, times as times.
 */
#ifndef CMD_CRIERCTL_VIEW_H
#define CMD_CRIERCTL_VIEW_H

#include "core/base.h"

/* Prints a JSON object that the server sent. False: it is none. */
bool view_object(struct span object) MUST_CHECK;
/* Prints the members of an object on one line, name=value. */
void view_line(struct span object);

#endif
