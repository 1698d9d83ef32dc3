// SPDX-License-Identifier: BSD-3-Clause
/*
 * Loaded into nbdkit along with a sanitizer's library. Loading that changes the
 * order of constructors, and one of nbdkit's libraries (p11-kit) then leaves glibc
 * 2.36's locale lock unbalanced: once anything has formatted an error message, that
 * library's destructor waits for ever in freelocale(). Any plugin does it.
 */
#include <config.h>

#include <locale.h>

void __attribute__((visibility("default"))) freelocale(locale_t locale)
{
}
