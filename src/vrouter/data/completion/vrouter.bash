# SPDX-License-Identifier: Apache-2.0
# Bash completion of the vRouter commands.
# Written by vrouter.tools.manpages from the parsers; change those, not this.
_vrouter_words() {
    case "$1" in
    "dropstats") echo "-h --help --core --debug --clear --name --json --version" ;;
    "mirror") echo "-h --help --dump --get --create --delete --nh --vni --dyn --metadata --name --json --version" ;;
    "mpls") echo "-h --help --dump --get --create --delete --nh --name --json --version" ;;
    "nh") echo "-h --help --list --get --create --delete --type --vrf --oif --smac --dmac --sip --dip --sport --dport --l3_vxlan --cni --lbl --hash --l2 --mc --udp --vxlan --cmc --cen --cevpn --cfa --tor --ecmp --lu-ecmp --validate-src --uucf --pol --rpol --rlkup --root --ml --name --json --version" ;;
    "qosmap") echo "-h --help --dump-fc --get-fc --set-fc --dump-qos --get-qos --set-qos --delete-qos --dscp --mpls_qos --dotonep --queue --fc --name --json --version" ;;
    "rt") echo "-h --help --dump --get -c -d -b --monitor -v --vrf -f --family -p -l -e -n -t -r -x -P -T -F -M --name --json --version" ;;
    "vif") echo "-h --help --list --get --create --add --delete --set --clear --mac --vrf --type --transport --id --xconnect --policy --vhost-phys --dhcp-enable --allow --trust --mirror --mirror-direction --qos --gateway --core --get-drop-stats --kernel --vif --vlan --ovlan --src-mac --flags --rate --name --json --version" ;;
    "vrfstats") echo "-h --help --get --dump --name --json --version" ;;
    "vrinfo") echo "-h --help --name --json --version" ;;
    "vrmemstats") echo "-h --help --name --json --version" ;;
    "vrouter") echo "-h --help --info --trap-rate --icmp-errors --icmp-rate --mss-clamp --name --json --version load unload status vhost apply get delete trace sandesh lab" ;;
    "vrouter load") echo "-h --help --name --json --version --profile --size --object --here" ;;
    "vrouter unload") echo "-h --help --name --json --version" ;;
    "vrouter status") echo "-h --help --name --json --version" ;;
    "vrouter vhost") echo "-h --help up confirm down" ;;
    "vrouter vhost up") echo "-h --help --name --json --version --physical --confirm --force --dry-run" ;;
    "vrouter vhost confirm") echo "-h --help --name --json --version" ;;
    "vrouter vhost down") echo "-h --help --name --json --version --dry-run --forget" ;;
    "vrouter apply") echo "-h --help --name --json --version --dry-run" ;;
    "vrouter get") echo "-h --help --name --json --version" ;;
    "vrouter delete") echo "-h --help --name --json --version" ;;
    "vrouter trace") echo "-h --help --name --json --version --count --seconds --drops --host --proto" ;;
    "vrouter sandesh") echo "-h --help --name --json --version --sock-dir --far-netns" ;;
    "vrouter lab") echo "-h --help up show exec down demo" ;;
    "vrouter lab up") echo "-h --help --encap --forwarding --stage --wire --underlay --control --id" ;;
    "vrouter lab show") echo "-h --help --json --id" ;;
    "vrouter lab exec") echo "-h --help --id" ;;
    "vrouter lab down") echo "-h --help --id" ;;
    "vrouter lab demo") echo "-h --help --id --encap" ;;
    "vrouter-port-control") echo "-h --help --oper --uuid --instance_uuid --vn_uuid --vm_project_uuid --ip_address --ipv6_address --vm_name --mac --tap_name --port_type --vif_type --tx_vlan_id --rx_vlan_id --vhostuser_mode --no_persist --name --json --version" ;;
    "vxlan") echo "-h --help --dump --get --create --delete --nh --name --json --version" ;;
    esac
}
_vrouter_values() {
    case "$1" in
    "vif --type") echo "vhost agent physical virtual xenll gateway virtual-vlan stats monitoring" ;;
    "vif --transport") echo "virtual eth pmd socket" ;;
    "vif --mirror-direction") echo "rx tx both none" ;;
    "vrouter --icmp-errors") echo "answer trap" ;;
    "vrouter --mss-clamp") echo "both from-vm to-vm off" ;;
    "vrouter load --profile") echo "default small" ;;
    "vrouter lab up --encap") echo "vxlan mplsoudp mplsogre" ;;
    "vrouter lab up --forwarding") echo "l2 l3" ;;
    "vrouter lab up --stage") echo "1 2 3" ;;
    "vrouter lab up --wire") echo "tso plain" ;;
    "vrouter lab up --underlay") echo "4 6" ;;
    "vrouter lab up --control") echo "agent tables" ;;
    "vrouter lab demo --encap") echo "vxlan mplsoudp mplsogre" ;;
    "vrouter-port-control --oper") echo "add delete enable disable" ;;
    "vrouter-port-control --port_type") echo "NovaVMPort NameSpacePort ESXiPort RemotePort" ;;
    "vrouter-port-control --vif_type") echo "Vrouter VhostUser" ;;
    esac
}
_vrouter_complete() {
    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD - 1]}"
    local path="${COMP_WORDS[0]##*/}" words word i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word="${COMP_WORDS[i]}"
        if [[ $word != -* && -n "$(_vrouter_words "$path $word")" ]]; then
            path="$path $word"
        fi
    done
    words="$(_vrouter_values "$path $previous")"
    if [[ -z $words && ( $previous == --physical || $previous == --add ) ]]; then
        words="$(command ls /sys/class/net 2>/dev/null)"
    fi
    [[ -n $words ]] || words="$(_vrouter_words "$path")"
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F _vrouter_complete dropstats mirror mpls nh qosmap rt vif vrfstats vrinfo vrmemstats vrouter vrouter-port-control vxlan
