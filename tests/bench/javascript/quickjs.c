// Evaluates the JavaScript that comes in by stdin, and prints its last value.

#include <stdio.h>
#include <stdlib.h>

#include "quickjs.h"

int main(void) {
    static char source[1 << 16];
    size_t length = fread(source, 1, sizeof source - 1, stdin);
    JSContext *context = JS_NewContext(JS_NewRuntime());
    JSValue value = JS_Eval(context, source, length, "work.js", JS_EVAL_TYPE_GLOBAL);
    int failed = JS_IsException(value);
    puts(JS_ToCString(context, failed ? JS_GetException(context) : value));
    return failed;
}
