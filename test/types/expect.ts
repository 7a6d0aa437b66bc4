type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/** Compiles only when the value's type is just this one: `typeOf(value).is<number>()`. */
export declare function typeOf<V>(value: V): { is<T>(...same: Same<T, V> extends true ? [] : ['it is another type']): void }
