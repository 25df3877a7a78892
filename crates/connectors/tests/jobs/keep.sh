#!/bin/sh
# Keeps a file in $STATE for each subject: the label on its first line, and on its second whether it works.
file="$STATE/$2"
case $1 in
observe)
    if [ -e "$file" ]; then
        { read -r owner; read -r works; } <"$file"
        printf '{"present":true,"owner":"%s","enforcing":%s}\n' "$owner" "$works"
    else
        printf '{"present":false}\n'
    fi
    ;;
execute)
    printf '%s\ntrue\n' "$3" >"$file.new" && mv "$file.new" "$file"
    ;;
undo)
    rm -f "$file"
    ;;
*)
    exit 64
    ;;
esac
