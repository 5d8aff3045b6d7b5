/*
 * addr_rule.h - which addresses a webhook may be at: those of the public Internet. Pure.
 */
#ifndef CMD_CRIER_RELAY_ADDR_RULE_H
#define CMD_CRIER_RELAY_ADDR_RULE_H

#include "core/base.h"

/* 4 bytes of an IPv4 address or 16 of an IPv6 address, as they go over the wire; anything else is not public. */
bool addr_is_public(struct span address);

#endif
