/* SPDX-License-Identifier: Apache-2.0 */
/* standalone.c - runs a fuzz target once over every file of the folders and files that
 * its arguments name: for compilers without libFuzzer, and to replay a finding.
 *
 * Arguments that begin with "-" are libFuzzer's and are passed over. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 1 << 20 };

static size_t files;

/* A copy of just the size, so that a sanitizer sees a read behind the end. */
static void run_bytes(const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    if (copy == NULL)
        abort();
    memcpy(copy, p, n);
    LLVMFuzzerTestOneInput(copy, n);
    free(copy);
    files++;
}

static int run_file(const char *path)
{
    static uint8_t data[INPUT_MAX];
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return -1;
    size_t n = fread(data, 1, sizeof data, f);
    int r = ferror(f) || !feof(f) ? -1 : 0;
    fclose(f);
    if (r == 0)
        run_bytes(data, n);
    return r;
}

static int run_folder(DIR *dir, const char *path)
{
    const struct dirent *e;
    while ((e = readdir(dir)) != NULL) {
        char file[4096];
        if (e->d_name[0] == '.')
            continue;
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        if (run_file(file) < 0) {
            fprintf(stderr, "%s: cannot be read\n", file);
            return -1;
        }
    }
    return 0;
}

static int run_path(const char *path)
{
    DIR *dir = opendir(path);
    int r = dir ? run_folder(dir, path) : run_file(path);
    if (dir)
        closedir(dir);
    else if (r < 0)
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
    return r;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (argv[i][0] != '-' && run_path(argv[i]) < 0)
            return 1;
    run_bytes((const uint8_t *)"", 0);
    printf("%zu inputs\n", files);
    return files > 1 ? 0 : 1;
}
