/* A reader of JSON, just large enough for jobs; it frees nothing, since a job lives as long as we. */
#ifndef EDGEKIT_JSON_H
#define EDGEKIT_JSON_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Json {
    char kind; /* { [ " 0 t f n */
    char *name, *text;
    double number;
    struct Json *child, *next;
} Json;

static void json_space(char **at) {
    while (**at && strchr(" \t\r\n", **at)) ++*at;
}

/* Reads a string in place; only ASCII escapes below 128 keep their meaning, others become '?'. */
static char *json_string(char **at) {
    char *start = ++*at, *to = start;
    for (; **at && **at != '"'; ++*at) {
        if (**at != '\\') {
            *to++ = **at;
            continue;
        }
        char kind = *++*at;
        if (!kind) return NULL;
        if (kind == 'u') {
            unsigned code = 0;
            if (strlen(*at) < 5 || sscanf(*at + 1, "%4x", &code) != 1) return NULL;
            *to++ = code && code < 128 ? (char)code : '?';
            *at += 4;
        } else {
            const char *from = "nrtbf", *into = "\n\r\t\b\f", *found = strchr(from, kind);
            *to++ = found ? into[found - from] : kind;
        }
    }
    if (**at != '"') return NULL;
    ++*at;
    *to = 0;
    return start;
}

static Json *json_value(char **at, int depth) {
    Json *value = calloc(1, sizeof *value), **tail = &value->child;
    json_space(at);
    value->kind = **at;
    if (depth > 64) return NULL;
    if (**at == '"') return (value->text = json_string(at)) ? value : NULL;
    if (**at == '{' || **at == '[') {
        char end = **at == '{' ? '}' : ']';
        ++*at;
        json_space(at);
        while (**at && **at != end) {
            char *name = NULL;
            if (end == '}') {
                if (**at != '"' || !(name = json_string(at))) return NULL;
                json_space(at);
                if (*(*at)++ != ':') return NULL;
            }
            if (!(*tail = json_value(at, depth + 1))) return NULL;
            (*tail)->name = name;
            tail = &(*tail)->next;
            json_space(at);
            if (**at == ',') ++*at;
            else if (**at != end) return NULL;
            json_space(at);
        }
        if (**at != end) return NULL;
        ++*at;
        return value;
    }
    const char *words[] = {"true", "false", "null"};
    for (int n = 0; n < 3; n++)
        if (!strncmp(*at, words[n], strlen(words[n]))) {
            *at += strlen(words[n]);
            return value;
        }
    char *end;
    value->kind = '0';
    value->number = strtod(*at, &end);
    if (end == *at) return NULL;
    *at = end;
    return value;
}

static const Json *json_parse(char *text) {
    return json_value(&text, 0);
}

static const Json *json_get(const Json *object, const char *name) {
    if (!object || object->kind != '{') return NULL;
    for (const Json *each = object->child; each; each = each->next)
        if (!strcmp(each->name, name)) return each;
    return NULL;
}

static const char *json_text(const Json *value, const char *otherwise) {
    return value && value->kind == '"' ? value->text : otherwise;
}

static double json_number(const Json *value, double otherwise) {
    return value && value->kind == '0' ? value->number : otherwise;
}

static int json_true(const Json *value) {
    return value && value->kind == 't';
}

static char *json_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    char *text = NULL;
    size_t room = 0, count = 0, more;
    do {
        text = realloc(text, (room += 65536) + 1);
        count += more = fread(text + count, 1, room - count, file);
    } while (more);
    fclose(file);
    text[count] = 0;
    return text;
}

static char *json_line(FILE *file) {
    char *line = NULL;
    size_t room = 0;
    if (getline(&line, &room, file) > 0) return line;
    free(line);
    return NULL;
}

#endif
