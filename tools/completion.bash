# Completion of sinter in bash, and of the executables that it builds when they are called train. For one of
# another name: complete -F _sinter_train NAME. What may stand where is asked of sinter itself.

# _sinter_offer SINTER KIND: fills COMPREPLY for the command line of bash
_sinter_offer() {
    local sinter=${1/#\~\//$HOME/} begun=${COMP_WORDS[COMP_CWORD]} words=() join= word line i
    # bash cuts words at '=': --target=cpu is one
    for ((i = 1; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ ($word == = || $join) && ${#words[@]} -gt 0 ]]; then
            words[-1]+=$word
            [[ $word == = ]] && join=1 || join=
        else
            words+=("$word")
        fi
    done
    [[ $begun == = ]] && begun=
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
        :folders)
            compopt -o filenames 2>/dev/null
            while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -d -- "$begun")
            ;;
        :files*)
            compopt -o filenames 2>/dev/null
            while IFS= read -r word; do
                [[ -d $word || $line == :files || " ${line#:files } " == *" ${word##*.} "* ]] && COMPREPLY+=("$word")
            done < <(compgen -f -- "$begun")
            ;;
        *=)
            compopt -o nospace 2>/dev/null
            COMPREPLY+=("$line")
            ;;
        *) COMPREPLY+=("${line// /\\ }") ;;
        esac
    done < <("$sinter" --complete "$2" "${words[@]}" 2>/dev/null)
}
_sinter() { _sinter_offer "$1" sinter; }
_sinter_train() { _sinter_offer sinter train; }
complete -F _sinter sinter
complete -F _sinter_train train
