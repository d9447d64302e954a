"""The operations on lists of words, most common first."""

from plateau_bench.tasks.suites.katas.op import (
    COUNT,
    EVERY_SECOND,
    FIRST,
    LAST,
    REVERSE,
    ROTATE,
    SHORT,
    SKIP,
    UNIQUE,
    op,
)

FILTERS = (
    op(
        "long",
        "keep the words longer than {k} letters|keep words of more than {k} letters",
        "len(w) > {k}",
        "{k} < len(w)",
        k=range(2, 6),
    ),
    op(
        "has-a", "keep the words with an a|keep words that contain the letter a", '"a" in w', '"a" in list(w)'
    ),
    op(
        "short",
        "keep the words of at most {k} letters|drop words longer than {k} letters",
        "len(w) <= {k}",
        "not len(w) > {k}",
        k=range(3, 7),
    ),
    op("vowel", "keep the words that start with a vowel|keep words with a vowel first", 'w[0] in "aeiou"'),
    op("palindrome", "keep the palindromes|keep words that read the same backwards", "w == w[::-1]"),
)

MAPS = (
    op("upper", "write each word in capitals|make each word upper case", "w.upper()"),
    op(
        "initial", "take the first letter of each word|replace each word by its first letter", "w[0]", "w[:1]"
    ),
    op(
        "mirror",
        "reverse the letters of each word|spell each word backwards",
        "w[::-1]",
        '"".join(reversed(w))',
    ),
    op(
        "capital",
        "capitalise each word|make the first letter of each word a capital",
        "w.capitalize()",
        "w[:1].upper() + w[1:]",
    ),
    op("repeat", "repeat each word {k} times|write each word {k} times in a row", "w * {k}", k=SHORT),
)

SEQS = (
    op("sort", "sort the words|put the words in alphabetical order", "sorted({a})"),
    REVERSE,
    op(
        "sort-length",
        "sort the words by length|order words from short to long",
        "sorted({a}, key=len)",
        "sorted({a}, key=lambda w: len(w))",
    ),
    FIRST,
    UNIQUE,
    LAST,
    op(
        "sort-length-down",
        "sort the words from long to short|order words by falling length",
        "sorted({a}, key=len, reverse=True)",
        "sorted({a}, key=lambda w: -len(w))",
    ),
    SKIP,
    EVERY_SECOND,
    ROTATE,
    op(
        "sort-last",
        "sort the words by last letter|order words by their final letter",
        "sorted({a}, key=lambda w: w[-1])",
    ),
)

REDUCERS = (
    op(
        "join",
        "join them with spaces|return them as one string, separated by spaces",
        '" ".join({a})',
    ),
    COUNT,
    op(
        "longest",
        "return the first longest word|return the longest word, the first if several",
        "max({a}, key=len)",
        fold=("t = None", "if t is None or len({x}) > len(t):\n t = {x}", "t"),
    ),
    op(
        "letters",
        "return the total number of letters|count all letters",
        "sum(len(w) for w in {a})",
        'len("".join({a}))',
        fold=("t = 0", "t += len({x})", "t"),
        recursion=("0", "len({x}) + {rest}"),
    ),
    op(
        "acronym",
        "return the string of first letters|join the first letters into one string",
        '"".join(w[0] for w in {a})',
        fold=('t = ""', "t += {x}[0]", "t"),
        recursion=('""', "{x}[0] + {rest}"),
    ),
    op(
        "glue",
        "join them with dashes|return them as one string, separated by dashes",
        '"-".join({a})',
    ),
)
