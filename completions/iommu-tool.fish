# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_iommu_tool_global_optspecs
    string join \n json v/verbose q/quiet color= sysroot= h/help V/version
end

function __fish_iommu_tool_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_iommu_tool_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_iommu_tool_using_subcommand
    set -l cmd (__fish_iommu_tool_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -s V -l version -d 'Print version'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "list" -d 'Show IOMMU groups, their devices and drivers, and what keeps a group from being assigned'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "bind" -d 'Hand a device to VFIO, and remember the driver it had'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "unbind" -d 'Give a device back to the driver it had before bind'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "test" -d 'Prove by DMA that a device reaches the memory mapped for it, and nothing else'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "bench" -d 'Measure how long mapping and unmapping memory takes'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "walk" -d 'Show how the IOMMU translates an address of a device, step by step'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "faults" -d 'Show what devices tried and an IOMMU blocked'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "completions" -d 'Print the completion script for a shell'
complete -c iommu-tool -n "__fish_iommu_tool_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand list" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand list" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand list" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand list" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand list" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bind" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bind" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bind" -l dry-run -d 'Print each write to sysfs as a shell command, and change nothing'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bind" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bind" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bind" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bind" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unbind" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unbind" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unbind" -l dry-run -d 'Print each write to sysfs as a shell command, and change nothing'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unbind" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unbind" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unbind" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand unbind" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -l backend -d 'The kernel interface to use' -r -f -a "auto\t'iommufd where it works for the device, else type1'
type1\t'Only type1'
iommufd\t'Only iommufd'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -l iova -d 'Place the test\'s mappings at this IOVA or above' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -l seed -d 'Start the random contents from this number, as an earlier run printed it' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -l list -d 'List the checks and what each proves, and test nothing'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand test" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l backend -d 'The kernel interfaces to measure; auto measures all that work here' -r -f -a "auto\t'iommufd where it works for the device, else type1'
type1\t'Only type1'
iommufd\t'Only iommufd'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l sizes -d 'The sizes to map' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l pages -d 'The kinds of pages the memory is made of' -r -f -a "4k\t'Pages of 4 KiB'
thp\t'Transparent huge pages'
2m\t'Explicit huge pages of 2 MiB (vm.nr_hugepages)'
1g\t'Explicit huge pages of 1 GiB'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l iova -d 'Map at this IOVA, to see what its alignment costs; without it, aligned for the largest page' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l samples -d 'How many times each combination is measured [default: 5000, or fewer where that takes longer than 1.5 s]' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand bench" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l map -d 'Map this much fresh memory at the page of IOVA first, and unmap it afterwards' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l pages -d 'The kind of pages the mapped memory is made of' -r -f -a "4k\t'Pages of 4 KiB'
thp\t'Transparent huge pages'
2m\t'Explicit huge pages of 2 MiB (vm.nr_hugepages)'
1g\t'Explicit huge pages of 1 GiB'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l backend -d 'The kernel interface to map with' -r -f -a "auto\t'iommufd where it works for the device, else type1'
type1\t'Only type1'
iommufd\t'Only iommufd'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l pid -d 'Compare with what this process has at --va' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l va -d 'A virtual address of the process, in hexadecimal' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l all -d 'Print all ranges that are mapped, with their page sizes'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l bits -d 'Explain each bit of each entry'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l scatter -d 'Map pages that do not follow each other in memory, each by itself'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l remap -d 'Then map other memory at the same IOVA, and show how the translation changes'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand walk" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand faults" -s d -l device -d 'Only the faults of this device' -r
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand faults" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand faults" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand faults" -s f -l follow -d 'Go on, and print each fault as it comes; with --json one document a line'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand faults" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand faults" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand faults" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand faults" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand completions" -l color -d 'When to use colours; NO_COLOR in the environment turns them off for auto' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand completions" -l sysroot -d 'Read the host from this folder instead of /, to look at a captured host' -r -f -a "(__fish_complete_directories)"
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand completions" -l json -d 'Print one JSON document on standard output instead of text'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand completions" -s v -l verbose -d 'Say more on standard error: what was chosen and why; twice for each kernel call'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand completions" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list bind unbind test bench walk faults completions help" -f -a "list" -d 'Show IOMMU groups, their devices and drivers, and what keeps a group from being assigned'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list bind unbind test bench walk faults completions help" -f -a "bind" -d 'Hand a device to VFIO, and remember the driver it had'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list bind unbind test bench walk faults completions help" -f -a "unbind" -d 'Give a device back to the driver it had before bind'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list bind unbind test bench walk faults completions help" -f -a "test" -d 'Prove by DMA that a device reaches the memory mapped for it, and nothing else'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list bind unbind test bench walk faults completions help" -f -a "bench" -d 'Measure how long mapping and unmapping memory takes'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list bind unbind test bench walk faults completions help" -f -a "walk" -d 'Show how the IOMMU translates an address of a device, step by step'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list bind unbind test bench walk faults completions help" -f -a "faults" -d 'Show what devices tried and an IOMMU blocked'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list bind unbind test bench walk faults completions help" -f -a "completions" -d 'Print the completion script for a shell'
complete -c iommu-tool -n "__fish_iommu_tool_using_subcommand help; and not __fish_seen_subcommand_from list bind unbind test bench walk faults completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
